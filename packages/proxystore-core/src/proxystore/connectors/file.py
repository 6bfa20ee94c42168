"""`FileConnector`: one file per object, in shared memory or on a disk."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import ClassVar, NamedTuple, Self

from proxystore.abc import Acknowledgement, Capability
from proxystore.connectors._file.address import Address, acknowledgement
from proxystore.connectors._file.addressed import AddressedConnector
from proxystore.connectors._file.attachment import Attachment
from proxystore.connectors._file.directory import Directory
from proxystore.connectors._file.media import private_directory
from proxystore.connectors._file.objects import Objects
from proxystore.connectors._file.sweep import Collected
from proxystore.connectors._shm.media import MediumInfo, collect_media, list_media
from proxystore.connectors.batches import put_each
from proxystore.connectors.keys import checked_id, fresh_id
from proxystore.connectors.options import check_range
from proxystore.errors import ConfigError
from proxystore.host.node import this_node
from proxystore.payload import BytesLike, Payload

__all__ = [
    "Collected",
    "FileConnector",
    "FileEntry",
    "FileKey",
    "MediumInfo",
    "collect_media",
    "list_media",
]

_CAPABILITIES = frozenset({
    Capability.CROSS_PROCESS,
    Capability.DEFERRABLE,
    Capability.LEASABLE,
    Capability.RANGED,
    Capability.REPLACEABLE,
    Capability.WAITABLE,
})


class FileKey(NamedTuple):
    """Key of an object in a `FileConnector`."""

    filename: str
    """1 to 64 characters of ``[A-Za-z0-9_-]``."""


class FileEntry(NamedTuple):
    """An object in a directory, as `FileConnector.entries` finds it."""

    key: FileKey
    nbytes: int
    created: float
    """Seconds since the epoch; of a leased object, when it was last touched."""
    expires: float | None
    """Seconds since the epoch; `None`: never."""


class FileConnector(AddressedConnector[FileKey]):
    """Keeps each object in a file of its own, seen by every process that sees the directory.

    Whoever creates the directory owns it, in that process, and clears it on
    `close`; opening an existing one owns nothing. Clearing removes the objects,
    what dead writers left, and the directory unless it holds files of others.

    The directory is made for this user alone (0700) and refused if others can
    write to it. An object appears whole, at once; its file is never changed
    after that. On a local file system `get` maps what is larger than 64 KiB:
    a writable view of which only changed pages cost memory, and which stays as
    it is when the object goes. Before Python 3.13 such a view holds a
    descriptor; when half of the process's are in use, `get` copies instead.

    A connector that does not own its directory finds the next one that is made
    under the same path once the first is gone, as when a program runs again.

    A new object costs some 25 us and the copy of its bytes; reading one costs
    some 10 us and, below 64 KiB or on a network file system, the copy.

    Args:
        store_dir: The directory; made, with its parents, if there is none.
        clear: Whether the owner's `close` clears it.
        adopt: Own an existing directory too, if its owner is dead.
        acknowledge: `PROCESS`, or `DISK` to wait for the disk at each write.

    Raises:
        UnsafeDirectoryError: The directory is a link or not private; or
            ``adopt=True`` and it holds files that were never ours.
        NotOwnerError: ``adopt=True`` and its owner lives.
        ConnectorUnavailableError: It cannot be made or opened.
        ConfigError: ``acknowledge`` is another level, or no directory can have that name.
    """

    key_type: ClassVar[type] = FileKey
    scheme: ClassVar[str] = "file"

    def __init__(
        self,
        store_dir: str | os.PathLike[str],
        *,
        clear: bool = True,
        adopt: bool = False,
        acknowledge: Acknowledgement | str = Acknowledgement.PROCESS,
    ) -> None:
        level = acknowledgement(acknowledge)
        path = os.path.abspath(os.fspath(store_dir))
        if "\0" in path:
            raise ConfigError(f"directory {path!r}", "no path can hold a null character")
        self._open(Directory.create(path, adopt=adopt), level, clear=clear)

    @classmethod
    def temporary(cls, *, collect: bool = True) -> Self:
        """A connector to a fresh private directory in shared memory, which it owns.

        On a node without usable shared memory it is in the directory for
        temporary files; `medium` tells. It is cleared on `close`, or else when
        the process ends; after kill -9, by the next call of some process.

        Args:
            collect: Remove such directories of dead processes first, up to 64.

        Raises:
            UnsafeDirectoryError: Somebody else made the directory that holds them.
        """
        made = cls.__new__(cls)
        made._open(private_directory(collect=collect), Acknowledgement.PROCESS, clear=True)
        return made

    def _open(self, directory: Directory, level: Acknowledgement, *, clear: bool) -> None:
        node = this_node() if directory.is_in_memory else None
        address = Address(directory.path, node, level)
        self._set_up(Attachment(address, directory, clear=clear))

    def _set_up(self, attachment: Attachment) -> None:
        super()._set_up(attachment)
        self._objects = Objects(attachment)

    def _let_go(self) -> None:
        self._objects.let_go()

    @property
    def capabilities(self) -> frozenset[Capability]:
        return _CAPABILITIES

    @property
    def acknowledges(self) -> Acknowledgement:
        return self._attachment.address.acknowledge

    def put(self, payload: Payload, *, ttl: float | None = None) -> FileKey:
        return FileKey(self._objects.put(payload, ttl))

    def put_batch(self, payloads: Sequence[Payload], *, ttl: float | None = None) -> list[FileKey]:
        """As `Connector.put_batch`. If one fails, those before it are removed."""
        return put_each(payloads, partial(self.put, ttl=ttl), self.evict)

    def new_key(self, object_id: str | None = None) -> FileKey:
        self._attachment.require_open()
        key = FileKey(fresh_id() if object_id is None else object_id)
        checked_id(key, FileKey)
        return key

    def set(self, key: FileKey, payload: Payload, *, ttl: float | None = None) -> None:
        self._objects.set(checked_id(key, FileKey), payload, ttl)

    def replace(self, key: FileKey, payload: Payload) -> None:
        """As `Replaceable.replace`. The object keeps its time to live."""
        self._objects.replace(checked_id(key, FileKey), payload)

    def generation(self, key: FileKey) -> int | None:
        return self._objects.generation(checked_id(key, FileKey))

    def get(self, key: FileKey) -> BytesLike | None:
        """As `Connector.get`: writable memory that is the caller's own."""
        return self.get_with_generation(key)[0]

    def get_with_generation(self, key: FileKey) -> tuple[BytesLike | None, int | None]:
        return self._objects.read(checked_id(key, FileKey)) or (None, None)

    def get_range(self, key: FileKey, offset: int, length: int) -> BytesLike | None:
        check_range(offset, length)
        found = self._objects.read(checked_id(key, FileKey), offset, length)
        return None if found is None else found[0]

    def exists(self, key: FileKey) -> bool:
        return self._objects.exists(checked_id(key, FileKey))

    def evict(self, key: FileKey) -> None:
        """As `Connector.evict`. In a directory that is gone there is nothing to evict."""
        self._objects.evict(checked_id(key, FileKey))

    def wait(self, key: FileKey, timeout: float | None = None) -> bool:
        """As `Waitable.wait`. Wakes within a millisecond of a `set` on this host.

        Elsewhere, as on a network file system, it looks again every second.

        Raises:
            MediumGoneError: The owner closed it.
        """
        name = checked_id(key, FileKey)
        return self._objects.wait(name, lambda: self._objects.exists(name), timeout)

    def touch(self, key: FileKey, ttl: float | None) -> bool:
        return self._objects.touch(checked_id(key, FileKey), ttl)

    def entries(self) -> Iterator[FileEntry]:
        """Every object there is now, in no order.

        Raises:
            ConnectorUnavailableError: The directory cannot be read or is gone.
        """
        found = self._objects.entries()
        return (FileEntry(FileKey(each.name), *each[1:]) for each in found)

    def gc(self) -> Collected:
        """Remove expired objects, what dead writers left, and files that wait to be used again.

        Costs one system call per object. Others may use the directory meanwhile.

        Raises:
            ConnectorUnavailableError: The directory cannot be read or is gone.
        """
        return self._objects.gc()
