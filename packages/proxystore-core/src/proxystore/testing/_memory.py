"""A small honest connector with every capability that one process can have."""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self
from weakref import WeakValueDictionary

from proxystore.abc import Acknowledgement, Capability, Connector, Medium, capabilities_of
from proxystore.errors import (
    ClosedError,
    InvalidKeyError,
    KeyAlreadySetError,
    KeyNotSetError,
    MediumGoneError,
    NotOwnerError,
)
from proxystore.payload import Payload, as_bytes

__all__ = ["MemoryConnector", "MemoryKey"]

_OBJECT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class MemoryKey(NamedTuple):
    """Key of an object in a `MemoryConnector`."""

    object_id: str


class _Entry(NamedTuple):
    data: bytes
    generation: int
    expires: float | None


class _Objects:
    """The medium: entries that all connectors with the same id share."""

    def __init__(self) -> None:
        self.entries: dict[str, _Entry] = {}
        self.generations = 0
        self.changed = threading.Condition()


_MEDIA: WeakValueDictionary[str, _Objects] = WeakValueDictionary()


def _renew_locks() -> None:
    # A thread that does not exist in the child may have held them.
    for medium in list(_MEDIA.values()):
        medium.changed = threading.Condition()


os.register_at_fork(after_in_child=_renew_locks)


class MemoryConnector(Connector[MemoryKey]):
    """Keeps objects in this process: what saboteurs break, and a stand-in for tests.

    Args:
        medium_id: An existing medium of this process, which is then not owned.
            `None` makes one, which ends with its last connector.
    """

    key_type: ClassVar[type] = MemoryKey

    def __init__(self, medium_id: str | None = None) -> None:
        self._owner_pid = os.getpid() if medium_id is None else None
        self._id = medium_id or secrets.token_hex(8)
        self._closed = False
        medium = _Objects() if medium_id is None else _MEDIA.get(self._id)
        if medium is None:
            raise MediumGoneError(
                f"memory {self._id} of process {os.getpid()}",
                "it is not in this process, or not any more",
                "Use a connector that is CROSS_PROCESS to reach objects from elsewhere.",
            )
        self._medium = _MEDIA[self._id] = medium

    def put(self, payload: Payload, *, ttl: float | None = None) -> MemoryKey:
        key = self.new_key()
        self.set(key, payload, ttl=ttl)
        return key

    def put_batch(
        self, payloads: Sequence[Payload], *, ttl: float | None = None
    ) -> list[MemoryKey]:
        return [self.put(payload, ttl=ttl) for payload in payloads]

    def get(self, key: MemoryKey) -> bytes | None:
        entry = self._live(key)
        return None if entry is None else entry.data

    def exists(self, key: MemoryKey) -> bool:
        return self._live(key) is not None

    def evict(self, key: MemoryKey) -> None:
        with self._opened().changed:
            self._medium.entries.pop(key.object_id, None)

    def new_key(self, object_id: str | None = None) -> MemoryKey:
        """As `Deferrable.new_key`."""
        self._opened()
        if object_id is None:
            return MemoryKey(secrets.token_urlsafe(12))
        if not _OBJECT_ID.fullmatch(object_id):
            raise InvalidKeyError(repr(object_id), "1 to 64 characters of [A-Za-z0-9_-]")
        return MemoryKey(object_id)

    def set(self, key: MemoryKey, payload: Payload, *, ttl: float | None = None) -> None:
        """As `Deferrable.set`, and `Leasable`."""
        with self._opened().changed:
            if self._live(key) is not None:
                raise KeyAlreadySetError(repr(key))
            self._store(key, payload, None if ttl is None else time.monotonic() + ttl)

    def replace(self, key: MemoryKey, payload: Payload) -> None:
        """As `Replaceable.replace`."""
        with self._opened().changed:
            entry = self._live(key)
            if entry is None:
                raise KeyNotSetError(repr(key))
            self._store(key, payload, entry.expires)

    def generation(self, key: MemoryKey) -> int | None:
        """As `Replaceable.generation`."""
        entry = self._live(key)
        return None if entry is None else entry.generation

    def wait(self, key: MemoryKey, timeout: float | None = None) -> bool:
        """As `Waitable.wait`."""
        with self._opened().changed:
            return self._medium.changed.wait_for(lambda: self._live(key) is not None, timeout)

    def touch(self, key: MemoryKey, ttl: float | None) -> bool:
        """As `Leasable.touch`."""
        with self._opened().changed:
            entry = self._live(key)
            if entry is not None:
                expires = None if ttl is None else time.monotonic() + ttl
                self._medium.entries[key.object_id] = entry._replace(expires=expires)
            return entry is not None

    def get_range(self, key: MemoryKey, offset: int, length: int) -> bytes | None:
        """As `Ranged.get_range`."""
        if offset < 0 or length < 0:
            raise ValueError(f"A range starts and extends at 0 or more, not {offset}, {length}.")
        data = self.get(key)
        return None if data is None else data[offset : offset + length]

    async def aput(self, payload: Payload) -> MemoryKey:
        """As `Async.aput`."""
        return self.put(payload)

    async def aget(self, key: MemoryKey) -> bytes | None:
        """As `Async.aget`."""
        return self.get(key)

    async def aexists(self, key: MemoryKey) -> bool:
        """As `Async.aexists`."""
        return self.exists(key)

    async def aevict(self, key: MemoryKey) -> None:
        """As `Async.aevict`."""
        self.evict(key)

    def config(self) -> dict[str, Any]:
        return {"medium_id": self._id}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return cls(**config)

    def close(self, *, clear: bool | None = None) -> None:
        if self._closed:
            return
        owner = self._owner_pid == os.getpid()
        if clear and not owner:
            raise NotOwnerError(f"memory {self._id}")
        self._closed = True
        if owner and clear is not False:
            with self._medium.changed:
                self._medium.entries.clear()

    @property
    def capabilities(self) -> frozenset[Capability]:
        return capabilities_of(self) - {Capability.CROSS_PROCESS}

    @property
    def medium(self) -> Medium:
        return Medium.PROCESS

    @property
    def acknowledges(self) -> Acknowledgement:
        return Acknowledgement.MEMORY

    def _opened(self) -> _Objects:
        if self._closed:
            raise ClosedError(f"MemoryConnector {self._id}")
        return self._medium

    def _live(self, key: MemoryKey) -> _Entry | None:
        entry = self._opened().entries.get(key.object_id)
        if entry is None or entry.expires is None or time.monotonic() < entry.expires:
            return entry
        return None

    def _store(self, key: MemoryKey, payload: Payload, expires: float | None) -> None:
        self._medium.generations += 1
        entry = _Entry(as_bytes(payload), self._medium.generations, expires)
        self._medium.entries[key.object_id] = entry
        self._medium.changed.notify_all()
