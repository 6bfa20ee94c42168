"""`GlobusConnector`: files that Globus Transfer copies to every site."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Self

from proxystore.abc import Acknowledgement, Capability, Connector, Medium
from proxystore.connectors.file import FileConnector
from proxystore.connectors.keys import fresh_id
from proxystore.connectors.options import check_range
from proxystore.errors import (
    ClosedError,
    ConfigError,
    ConnectorUnavailableError,
    NotOwnerError,
    ProxyStoreError,
)
from proxystore.payload import BytesLike, Payload
from proxystore_connectors_globus._arrivals import Arrivals
from proxystore_connectors_globus._endpoints import EndpointsLike, GlobusEndpoints
from proxystore_connectors_globus._errors import LoginRequiredError
from proxystore_connectors_globus._files import LocalFiles
from proxystore_connectors_globus._keys import GlobusKey, checked_key, tasks_text
from proxystore_connectors_globus._login import Login
from proxystore_connectors_globus._service import TransferService
from proxystore_connectors_globus._settings import Settings, SyncLevel

__all__ = ["GlobusConnector"]

_CAPABILITIES = frozenset({Capability.CROSS_PROCESS, Capability.RANGED})


class GlobusConnector(Connector[GlobusKey]):
    """Keeps each object in a file at the site of its writer, and copies at all others.

    `put` writes the file and submits one transfer task to each other
    collection; `put_batch` does so once for the whole batch, which is what to
    use: Globus works on three tasks of a user at a time, and queues the rest. `get`
    and `get_range` wait, up to ``timeout``, for the task that carries the
    object to this site; `exists` does not, and is `False` on the way. A task that
    has failed raises `TransferFailedError`. Reading is then as from a `FileConnector`.

    The objects lie in a directory of this connector's own, its namespace, under that of each
    collection. Whoever makes a fresh one owns it: its `close` removes the objects here
    and submits their deletion everywhere else. `evict` does so for one object; a copy that is
    being made at that very moment may stay until the namespace is cleared.

    All processes use one identity of Globus (see ``proxystore-globus-auth --help``),
    for nobody else sees its tasks. Nothing is asked of Globus before the first put,
    or a get of what was put elsewhere.

    Args:
        endpoints: Two or more collections, as `GlobusEndpoints.of` takes them. This process
            is at the one whose ``host_regex`` matches the host's name, or
            which the environment variable ``PROXYSTORE_GLOBUS_COLLECTION`` names.
        namespace: Share the objects of others under this name, and own
            nothing; by default a fresh one, which this connector owns.
        clear: Whether the owner's `close` clears.
        adopt: Own ``namespace`` too, if its owner at this site is gone.
        polling_interval: Seconds between the first two looks at a task; the pauses grow.
        sync_level: How Globus decides whether a file that is there already is the same.
        timeout: Seconds after which requests, and waits for objects, end.
        client_id: Of the application that is registered with Globus; by default
            that of the environment variable ``PROXYSTORE_GLOBUS_CLIENT_ID``.
        client_secret: Reference to the secret of a client that acts for itself, such as
            ``"env:NAME"``; by default ``PROXYSTORE_GLOBUS_CLIENT_SECRET`` if it is set.

    Raises:
        ConfigError: An option cannot be used.
        ConnectorUnavailableError: No collection is at this host, or the directory of
            its objects cannot be made.
        UnsafeDirectoryError: Others can write to it, or ``adopt=True`` and it
            was never ours.
        NotOwnerError: ``adopt=True`` and its owner lives.
    """

    key_type: ClassVar[type] = GlobusKey
    secret_options: ClassVar[frozenset[str]] = frozenset({"client_secret"})

    def __init__(
        self,
        endpoints: EndpointsLike,
        *,
        namespace: str | None = None,
        clear: bool = True,
        adopt: bool = False,
        polling_interval: float = 1.0,
        sync_level: SyncLevel = "mtime",
        timeout: float = 60.0,
        client_id: str | uuid.UUID | None = None,
        client_secret: str | None = None,
    ) -> None:
        if adopt and namespace is None:
            raise ConfigError("option adopt of connector 'globus'", "it needs a namespace to adopt")
        settings = Settings(
            GlobusEndpoints.of(endpoints),
            fresh_id() if namespace is None else namespace,
            Login.resolved(client_id, client_secret),
            polling_interval,
            sync_level,
            timeout,
        )
        self._set_up(settings, owns=namespace is None or adopt, adopt=adopt)
        self._clears = clear

    def _set_up(self, settings: Settings, *, owns: bool, adopt: bool = False) -> None:
        self._settings = settings
        self._here = settings.endpoints.here()
        self._place = settings.endpoints.index(self._here)
        path = os.path.join(self._here.local_path, settings.namespace)
        made = FileConnector(path, adopt=adopt) if owns else None
        self._files = LocalFiles(path, made)
        self._service = TransferService(settings)
        self._arrivals = Arrivals(self._service, settings.polling_interval, settings.timeout)
        self._owns, self._clears = owns, True
        self._closed = self._is_mapped = False

    def __repr__(self) -> str:
        return f"<GlobusConnector {self._settings.namespace} at {self._here.uuid}>"

    # --- Objects --------------------------------------------------------------

    def put(self, payload: Payload) -> GlobusKey:
        return self.put_batch([payload])[0]

    def put_batch(self, payloads: Sequence[Payload]) -> list[GlobusKey]:
        """As `Connector.put_batch`: all are stored, and one task to each collection has them."""
        self._check_open()
        if not payloads:
            return []
        names = self._files.put(payloads)
        tasks: list[str | None] = []
        try:
            with self._service.operation():
                self._check_mapping(names[0])
                for endpoint in self._settings.endpoints:
                    away = endpoint is not self._here
                    task = self._service.transfer(self._here, endpoint, names) if away else None
                    tasks.append(task)
        except BaseException:
            self._undo(names, tasks)
            raise
        return [GlobusKey(name, tasks_text(tasks)) for name in names]

    def get(self, key: GlobusKey) -> BytesLike | None:
        """As `FileConnector.get`, once the object has arrived.

        Raises:
            TransferFailedError: It never will.
            ConnectorUnavailableError: It has not within the timeout, or Globus did not answer.
            LoginRequiredError: Nobody is logged in to ask Globus.
        """
        name, task = self._awaited(key)
        found = self._files.get(name)
        if found is None and task is not None:
            self._check_absence(name)
        return found

    def get_range(self, key: GlobusKey, offset: int, length: int) -> BytesLike | None:
        check_range(offset, length)
        name, task = self._awaited(key)
        found = self._files.get_range(name, offset, length)
        if found is None and task is not None:
            self._check_absence(name)
        return found

    def exists(self, key: GlobusKey) -> bool:
        """Whether the object is at this site, whole. `False` while it is on its way.

        Raises:
            TransferFailedError: It will never be.
            ConnectorUnavailableError: Globus did not answer.
        """
        name, task = self._parts(key)
        return (task is None or self._arrivals.has_arrived(task)) and self._files.exists(name)

    def evict(self, key: GlobusKey) -> None:
        """Remove the object here, and submit a task to each other collection to delete it."""
        name, _ = self._parts(key)
        self._files.evict(name)
        self._delete_elsewhere(name)

    # --- The medium -----------------------------------------------------------

    @property
    def capabilities(self) -> frozenset[Capability]:
        return _CAPABILITIES

    @property
    def medium(self) -> Medium:
        return Medium.DISK

    @property
    def acknowledges(self) -> Acknowledgement:
        """`PROCESS`: the object is in a file here, and Globus has taken the tasks."""
        return Acknowledgement.PROCESS

    @property
    def is_owner(self) -> bool:
        """Whether this connector owns its namespace, in this process."""
        return self._owns and self._files.is_owned

    @property
    def url(self) -> str:
        """The canonical URL, from which `from_url` makes an equal connector elsewhere."""
        return self._settings.to_url()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """A connector to the namespace that ``url`` names, which it does not own.

        Raises:
            ConfigError: ``url`` has another form, or an option of it is wrong.
            ConnectorUnavailableError: No collection is at this host.
        """
        return cls._attached(Settings.from_url(url))

    def config(self) -> dict[str, Any]:
        return self._settings.to_config()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """As `Connector.from_config`. Asks nobody.

        Raises:
            ConfigError: An option has an unknown name or a wrong value.
            ConnectorUnavailableError: No collection is at this host.
        """
        return cls._attached(Settings.from_config(config))

    @classmethod
    def _attached(cls, settings: Settings) -> Self:
        made = cls.__new__(cls)
        made._set_up(settings, owns=False)
        return made

    def close(self, *, clear: bool | None = None) -> None:
        """As `Connector.close`. Only an owner made with ``clear=True`` clears by default.

        Raises:
            NotOwnerError: ``clear=True`` on a connector that is not the owner.
            ConnectorUnavailableError: Globus did not take the deletion of what is elsewhere.
            LoginRequiredError: The login with which objects were put is gone.
        """
        if self._closed:
            return
        if clear and not self.is_owner:
            raise NotOwnerError(f"namespace {self._settings.namespace} of Globus collections")
        clears = self.is_owner and (self._clears if clear is None else clear)
        self._closed = True
        self._arrivals.close()
        self._files.close(clear=clears)
        try:
            if clears:
                self._clear_elsewhere()
        finally:
            self._service.close()

    # --- Inside ---------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(repr(self))

    def _parts(self, key: GlobusKey) -> tuple[str, str | None]:
        """The name of the object, and the task that carries it here unless it is from here."""
        self._check_open()
        name, tasks = checked_key(key, len(self._settings.endpoints))
        return name, tasks[self._place]

    def _awaited(self, key: GlobusKey) -> tuple[str, str | None]:
        name, task = self._parts(key)
        if task is not None:
            self._arrivals.wait(task)
        return name, task

    def _delete_elsewhere(self, name: str = "") -> None:
        with self._service.operation():
            for endpoint in self._settings.endpoints:
                if endpoint is not self._here:
                    self._service.delete(endpoint, name)

    def _clear_elsewhere(self) -> None:
        try:
            self._delete_elsewhere()
        except LoginRequiredError:
            # Who never logged in has put nothing, nor seen what others put.
            if self._service.has_logged_in:
                raise

    def _check_mapping(self, name: str) -> None:
        """Return if the collection sees the file that was just written; asks it once.

        Globus skips files that it does not find, so a wrong path would otherwise
        look like objects that were evicted.
        """
        if not self._is_mapped:
            if not self._service.has(self._here, name):
                raise self._mismatch("what was just written to local_path is not in endpoint_path")
            self._is_mapped = True

    def _check_absence(self, name: str) -> None:
        if self._service.has(self._here, name) and not self._files.exists(name):
            raise self._mismatch("an object that is in endpoint_path is not in local_path")

    def _mismatch(self, found: str) -> ConnectorUnavailableError:
        here = self._here
        return ConnectorUnavailableError(
            f"Globus collection {here.uuid}",
            f"{found} ({here.endpoint_path} and {here.local_path})",
            "Let both name one directory, and the hosts of host_regex be those that see it.",
        )

    def _undo(self, names: Sequence[str], tasks: Sequence[str | None]) -> None:
        for name in names:
            self._files.evict(name)
        for task in tasks:
            # The first error counts. What this leaves goes when the namespace is cleared.
            with suppress(ProxyStoreError):
                if task is not None:
                    self._service.cancel(task)
