"""Requests to the objects of one namespace, blocking and not, with failures told as ours."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from proxystore.payload import Payload, as_buffers, as_bytes, payload_nbytes
from proxystore_connectors_obstore._address import Address
from proxystore_connectors_obstore._engine import abandon, library
from proxystore_connectors_obstore._failures import told, translated
from proxystore_connectors_obstore._services import Service
from proxystore_connectors_obstore._stamp import Stamp
from proxystore_connectors_obstore._stores import open_store

__all__ = ["AlreadyThereError", "ChangedError", "Client"]

T = TypeVar("T")
R = TypeVar("R")

_UNCONDITIONAL = ("create", "overwrite")
_AT_ONCE = 16
_UPLOADS = 4
_SINGLE_PARTS = 4
_MOST_PARTS = 9_000


class AlreadyThereError(Exception):
    """An object was to be created under a name that has one."""


class ChangedError(Exception):
    """An object is not, or no longer, the one that was to be exchanged or read on."""


class Client:
    """The connections of one process to ``address``. Thread safe; forked children make their own.

    Raises:
        SecretNotFoundError: A reference leads nowhere on this host.
        ConnectorUnavailableError: The library cannot use the credentials.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        # Any: the library's module and its clients.
        self.library: Any = library()
        self.store: Any = open_store(self.library, address, address.timeout)
        self._patient: dict[int, Any] = {}
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def abandon(self) -> None:
        """Let go of nothing in a forked child: see `proxystore_connectors_obstore._engine`."""
        for store in (self.store, *self._patient.values()):
            abandon(store)

    def close(self) -> None:
        """End the threads, if any were needed."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    def map(self, function: Callable[[T], R], things: Sequence[T]) -> list[R]:
        """``function`` of each, some at once, in order.

        If one raises, those that had not begun do not, and all have ended when its error comes.
        """
        if len(things) < 2:
            return [function(thing) for thing in things]
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_AT_ONCE, "obstore")
            pool = self._pool
        futures = [pool.submit(function, thing) for thing in things]
        wait(futures, return_when=FIRST_EXCEPTION)
        failed = [each for each in futures if each.done() and each.exception() is not None]
        if failed:
            wait([each for each in futures if not each.cancel()])
        return [each.result() for each in (*failed, *futures)]

    # --- Writing ------------------------------------------------------------

    def write(
        self, name: str, payload: Payload, stamp: Stamp, mode: Any = "overwrite"
    ) -> None:
        """Store ``payload`` as object ``name``: large ones in parts, and none of them if one fails.

        Args:
            name: Of the object.
            payload: Its bytes, not copied and not read after return.
            stamp: Its attributes, where there are any.
            mode: ``"create"``, or ``{"e_tag": ...}`` to exchange the object that has it.

        Raises:
            AlreadyThereError: ``mode`` is ``"create"`` and there is an object.
            ChangedError: The object has another e_tag, or is gone.
        """
        nbytes = payload_nbytes(payload)
        store, how = self._store_for(nbytes, mode), self._how(nbytes, stamp, mode)
        with self.explained(nbytes):
            try:
                self.library.put(store, name, self._body(payload), **how)
            except FileNotFoundError as exc:
                if mode in _UNCONDITIONAL:
                    raise translated(exc, self.address, nbytes) from exc
                raise ChangedError from exc

    async def awrite(self, name: str, payload: Payload, stamp: Stamp) -> None:
        """As `write`, for a new object."""
        nbytes = payload_nbytes(payload)
        with self.explained(nbytes):
            body, how = self._body(payload), self._how(nbytes, stamp, "overwrite")
            await self.library.put_async(self.store, name, body, **how)

    def _how(self, nbytes: int, stamp: Stamp, mode: Any) -> dict[str, Any]:
        part_nbytes = max(self.address.part_nbytes, -(-nbytes // _MOST_PARTS))
        return {
            "attributes": stamp.attributes() if self.address.service.has_attributes else None,
            "mode": mode,
            # One request for what is not much larger than a part: it is faster (README.md).
            "use_multipart": mode == "overwrite" and nbytes > self._single_nbytes,
            "chunk_size": part_nbytes,
            "max_concurrency": max(_UPLOADS, self.address.connections),
        }

    # Any: bytes-like, or a list of buffers.
    def _body(self, payload: Payload) -> Any:
        if self.address.service is Service.MEMORY:
            # The library keeps what it is given, and a caller may change its buffers.
            return as_bytes(payload)
        buffers = as_buffers(payload)
        return buffers[0] if len(buffers) == 1 else list(buffers)

    @property
    def _single_nbytes(self) -> int:
        return _SINGLE_PARTS * self.address.part_nbytes

    def _store_for(self, nbytes: int, mode: Any) -> Any:
        """A client that waits long enough for ``nbytes`` in one request."""
        if mode == "overwrite" or nbytes <= self._single_nbytes:
            return self.store
        doublings = (nbytes // self._single_nbytes).bit_length()
        with self._lock:
            if doublings not in self._patient:
                seconds = self.address.timeout * 2**doublings
                self._patient[doublings] = open_store(self.library, self.address, seconds)
            return self._patient[doublings]

    # --- Attributes ---------------------------------------------------------

    def head(self, name: str) -> tuple[Stamp, str] | None:
        """Stamp and e_tag of an object, even an expired one; `None` if there is none."""
        with self.explained():
            try:
                found = self.library.get(self.store, name, options={"head": True})
            except FileNotFoundError:
                return None
            return Stamp.read(found.attributes), found.meta["e_tag"]

    def exists(self, name: str) -> bool:
        """Whether there is an object that has not expired."""
        found = self.head(name)
        return found is not None and not found[0].has_expired

    async def aexists(self, name: str) -> bool:
        """As `exists`."""
        with self.explained():
            try:
                found = await self.library.get_async(self.store, name, options={"head": True})
            except FileNotFoundError:
                return False
            return not Stamp.read(found.attributes).has_expired

    # --- Removing -----------------------------------------------------------

    def delete(self, name: str) -> None:
        """Remove an object, if there is one."""
        with self.explained(), contextlib.suppress(FileNotFoundError):
            self.library.delete(self.store, name)

    async def adelete(self, name: str) -> None:
        """As `delete`."""
        with self.explained(), contextlib.suppress(FileNotFoundError):
            await self.library.delete_async(self.store, name)

    def delete_all(self, names: Iterable[str]) -> None:
        """Remove these objects, many with one request where the service can."""
        names = list(names)
        with self.explained():
            try:
                self.library.delete(self.store, names)
            except FileNotFoundError:
                # Somebody else removed one, and it is not said how far the library came.
                for name in names:
                    self.delete(name)

    def listed(self) -> Iterator[list[str]]:
        """The names directly under the prefix, in batches."""
        with self.explained():
            for batch in self.library.list(self.store, chunk_size=1000):
                yield [entry["path"] for entry in batch if "/" not in entry["path"]]

    # --- Failures -----------------------------------------------------------

    @contextlib.contextmanager
    def explained(self, nbytes: int = 0) -> Iterator[None]:
        """Tell what the library raises as errors of ours, but for the absence of one object."""
        errors = self.library.exceptions
        with told(self.library, self.address, nbytes):
            try:
                yield
            except errors.AlreadyExistsError as exc:
                raise AlreadyThereError from exc
            except errors.PreconditionError as exc:
                raise ChangedError from exc
