"""What a connector asks of Globus Transfer: tasks that copy and delete, and how they fare."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, TypedDict, TypeVar

import globus_sdk
from globus_sdk import DeleteData, TransferClient, TransferData

from proxystore.errors import ConnectorUnavailableError, ProxyStoreError
from proxystore.host.forks import remake_in_child
from proxystore_connectors_globus._endpoints import GlobusEndpoint
from proxystore_connectors_globus._errors import LoginRequiredError, explained
from proxystore_connectors_globus._keys import is_task_id
from proxystore_connectors_globus._login import Login
from proxystore_connectors_globus._retries import Retries
from proxystore_connectors_globus._settings import Settings

__all__ = ["Task", "TransferService"]

DataT = TypeVar("DataT", TransferData, DeleteData)

_LABEL = "proxystore"
# What the SDK raises on documents that lack what it looks for, such as tokens.
_UNREADABLE = (AttributeError, LookupError, TypeError, ValueError)
_NOT_SHOWN = (
    "Log in as the identity that put the object: Globus shows tasks to nobody else, and "
    "forgets them some weeks after they ended."
)


class _Silence(TypedDict):
    notify_on_succeeded: bool
    notify_on_failed: bool
    notify_on_inactive: bool


# A mail to the user for each task is what nobody wants of thousands.
_SILENT = _Silence(notify_on_succeeded=False, notify_on_failed=False, notify_on_inactive=False)


class Task(NamedTuple):
    """How a task fares."""

    status: str
    """``ACTIVE``, ``INACTIVE``, ``SUCCEEDED`` or ``FAILED``."""
    reason: str
    """What Globus says about it, in its codes and words; empty if all is well."""


class TransferService:
    """Globus Transfer, as one identity. Logs in on first use. Thread and fork safe.

    Every method, and every `operation`, ends within twice the timeout, for the last attempt of
    a request may begin just before it has passed. All may raise `LoginRequiredError`
    and `ConnectorUnavailableError`.

    Args:
        settings: Of the connector.
    """

    def __init__(self, settings: Settings) -> None:
        self._login: Login = settings.login
        self._sync_level = settings.sync_level
        self._namespace = settings.namespace
        self._retries = Retries(settings.timeout)
        self.has_logged_in = False
        """Whether Globus was, or could have been, asked for anything."""
        self.remade_in_child()
        remake_in_child(self)

    def remade_in_child(self) -> None:
        """Make connections anew: a child must not read the answers to its parent's requests."""
        self._lock = threading.Lock()
        self._made: TransferClient | None = None

    def close(self) -> None:
        """Close the connections. A request after it makes new ones."""
        with self._lock:
            if self._made is not None:
                self._made.transport.close()
            self._made = None

    def operation(self) -> AbstractContextManager[None]:
        """Let all requests of this thread inside share one timeout."""
        return self._retries.operation()

    def path(self, endpoint: GlobusEndpoint, name: str = "") -> str:
        """The path in the collection of the object ``name``, or of the namespace."""
        return f"{endpoint.endpoint_path.rstrip('/')}/{self._namespace}/{name}"

    def transfer(
        self, source: GlobusEndpoint, destination: GlobusEndpoint, names: Sequence[str]
    ) -> str:
        """The id of a new task that copies objects from one collection to another."""
        data = TransferData(
            source.uuid,
            destination.uuid,
            label=_LABEL,
            sync_level=self._sync_level,
            verify_checksum=True,
            encrypt_data=True,
            fail_on_quota_errors=True,
            # An object that is evicted before its turn must not hold up the rest of a batch.
            skip_source_errors=True,
            **_SILENT,
        )
        for name in names:
            data.add_item(self.path(source, name), self.path(destination, name))
        what = f"a transfer from {_named(source)} to {_named(destination)}"
        return self._submitted(what, data, TransferClient.submit_transfer)

    def delete(self, endpoint: GlobusEndpoint, name: str = "") -> str:
        """The id of a new task that deletes the object ``name``, or without it the namespace."""
        data = DeleteData(
            endpoint.uuid, label=_LABEL, recursive=not name, ignore_missing=True, **_SILENT
        )
        data.add_item(self.path(endpoint, name))
        return self._submitted(
            f"a deletion in {_named(endpoint)}", data, TransferClient.submit_delete
        )

    def cancel(self, task_id: str) -> None:
        """Stop a task. One that has ended stays as it is."""
        self._ask(f"to cancel task {task_id}", lambda client: client.cancel_task(task_id))

    def task(self, task_id: str) -> Task:
        """How a task fares now."""
        what = f"Globus task {task_id}"
        found = self._ask(what, lambda client: client.get_task(task_id), missing=_NOT_SHOWN)
        fatal: Any = found.get("fatal_error")
        fatal = fatal if isinstance(fatal, dict) else {}
        said = (
            fatal.get("code") or found.get("nice_status"),
            fatal.get("description") or found.get("nice_status_short_description"),
            found.get("nice_status_details"),
            found.get("canceled_by_admin_message"),
        )
        words = (" ".join(str(word).split()) for word in said if word and word != "OK")
        return Task(_text(found, "status", what), ", ".join(words))

    def has(self, endpoint: GlobusEndpoint, name: str) -> bool:
        """Whether the collection has a file of the object ``name``."""
        path = self.path(endpoint, name)
        what = f"file {path} of {_named(endpoint)}"
        with self._asking(what) as client:
            try:
                found = _document(client.operation_stat(endpoint.uuid, path), what)
            except globus_sdk.TransferAPIError as error:
                if error.http_status == 404 and error.code == "NotFound":
                    return False
                raise
        return _text(found, "type", what) == "file"

    def _submitted(
        self,
        what: str,
        data: DataT,
        submit: Callable[[TransferClient, DataT], globus_sdk.GlobusHTTPResponse],
    ) -> str:
        # First of all, for a request is repeated when its answer was lost: of those
        # with one submission id, Globus makes one task.
        found = self._ask(what, lambda client: client.get_submission_id())
        data["submission_id"] = _text(found, "value", what)
        task_id = _text(self._ask(what, lambda client: submit(client, data)), "task_id", what)
        if not is_task_id(task_id):
            raise _no_answer(what)
        return task_id

    # Any in what follows: fields of documents, whatever answered.
    def _ask(
        self,
        what: str,
        request: Callable[[TransferClient], globus_sdk.GlobusHTTPResponse],
        missing: str | None = None,
    ) -> dict[str, Any]:
        with self._asking(what, missing) as client:
            return _document(request(client), what)

    @contextmanager
    def _asking(self, what: str, missing: str | None = None) -> Iterator[TransferClient]:
        try:
            with self._retries.operation():
                yield self._client()
        except globus_sdk.GlobusError as error:
            told = explained(error, what, missing)
            if isinstance(told, LoginRequiredError):
                # Somebody may log in meanwhile, which the next request is to find.
                self.close()
            raise told from error
        except ProxyStoreError:
            raise
        except _UNREADABLE as error:
            raise _no_answer(what) from error

    def _client(self) -> TransferClient:
        with self._lock:
            if self._made is None:
                authorizer = self._login.authorizer(self._retries)
                self.has_logged_in = True
                transport, config = self._retries.transport(), self._retries.config()
                self._made = TransferClient(
                    authorizer=authorizer, transport=transport, retry_config=config
                )
            return self._made


def _named(endpoint: GlobusEndpoint) -> str:
    return f"Globus collection {endpoint.uuid}"


def _document(response: globus_sdk.GlobusHTTPResponse, what: str) -> dict[str, Any]:
    document: Any = response.data
    if not isinstance(document, dict):
        raise _no_answer(what)
    return document


def _text(document: dict[str, Any], name: str, what: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise _no_answer(what)
    return value


def _no_answer(what: str) -> ConnectorUnavailableError:
    found = "something else than Globus answered"
    advice = "See that no portal or proxy on the way answers in its place."
    return ConnectorUnavailableError(what, found, advice)
