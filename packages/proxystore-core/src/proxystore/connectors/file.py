"""`FileConnector`: one file per object, in shared memory or on a disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import wraps
from typing import Any, ClassVar, Concatenate, NamedTuple, ParamSpec, Self, TypeVar

from proxystore.abc import Acknowledgement, Capability, Connector, Medium
from proxystore.connectors._file.address import Address, acknowledgement
from proxystore.connectors._file.attachment import Attachment
from proxystore.connectors._file.directory import Directory
from proxystore.connectors._file.failures import explained
from proxystore.connectors._file.lease import (
    expiry,
    expiry_after,
    generation,
    is_expired,
    is_leased,
    lease,
    release,
    renew,
)
from proxystore.connectors._file.media import (
    MediumInfo,
    collect_media,
    list_media,
    private_directory,
)
from proxystore.connectors._file.reading import read_part
from proxystore.connectors._file.recycling import RECYCLE_MORE_THAN, Recycler
from proxystore.connectors._file.sweep import Collected, collect, objects, remove_if_expired
from proxystore.connectors._file.writing import Temporary
from proxystore.connectors.keys import checked_id, fresh_id
from proxystore.connectors.options import check_range
from proxystore.errors import (
    ConfigError,
    KeyAlreadySetError,
    KeyNotSetError,
    MediumGoneError,
)
from proxystore.host.locks import lock
from proxystore.host.node import this_node
from proxystore.payload import BytesLike, Payload, payload_nbytes

__all__ = [
    "Collected",
    "FileConnector",
    "FileEntry",
    "FileKey",
    "MediumInfo",
    "collect_media",
    "list_media",
]

P = ParamSpec("P")
R = TypeVar("R")

_SWEEP_SECONDS = 30.0
# A writer holds its lock until the name is there; stopped just then, it stops its readers.
_PUBLISHING_SECONDS = 10.0
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_CAPABILITIES = frozenset({
    Capability.CROSS_PROCESS,
    Capability.DEFERRABLE,
    Capability.LEASABLE,
    Capability.RANGED,
    Capability.REPLACEABLE,
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


def _in_present_directory(
    operation: Callable[Concatenate[FileConnector, P], R],
) -> Callable[Concatenate[FileConnector, P], R]:
    """``operation``, tried once more in the directory that took the place of one that is gone."""

    @wraps(operation)
    def tried(self: FileConnector, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return operation(self, *args, **kwargs)
        except MediumGoneError:
            if not self._attachment.leave():
                raise
        return operation(self, *args, **kwargs)

    return tried


class FileConnector(Connector[FileKey]):
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
        self._attachment = attachment
        self._address = attachment.address
        self._durable = self._address.acknowledge is Acknowledgement.DISK
        # Set by the first lease: only then is there something to sweep.
        self._next_sweep: float | None = None
        self._recycling: Recycler | None = None

    def __repr__(self) -> str:
        return repr(self._attachment)

    @property
    def url(self) -> str:
        """The canonical URL, from which `from_url` makes an equal connector elsewhere."""
        return self._address.to_url()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """A connector to the directory that ``url`` names, which it does not own.

        Opens nothing: an absent directory shows on first use.

        Raises:
            ConfigError: ``url`` is not ``file:///path``, or names an unknown option.
        """
        return cls._attached(Address.from_url(url))

    def config(self) -> dict[str, Any]:
        return self._address.to_config()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """As `Connector.from_config`. Opens nothing: an absent directory shows on first use.

        Raises:
            ConfigError: An option has an unknown name or a wrong value.
        """
        return cls._attached(Address.from_config(config))

    @classmethod
    def _attached(cls, address: Address) -> Self:
        made = cls.__new__(cls)
        made._set_up(Attachment(address.completed()))
        return made

    @property
    def capabilities(self) -> frozenset[Capability]:
        return _CAPABILITIES

    @property
    def medium(self) -> Medium:
        return Medium.DISK if self._address.node is None else Medium.SHARED_MEMORY

    @property
    def acknowledges(self) -> Acknowledgement:
        return self._address.acknowledge

    @property
    def is_owner(self) -> bool:
        """Whether this connector owns its directory, in this process."""
        return self._attachment.is_owner

    @_in_present_directory
    def put(self, payload: Payload, *, ttl: float | None = None) -> FileKey:
        directory = self._attachment.directory()
        try:
            with self._temporary(directory, payload) as temporary:
                self._fill(directory, temporary, payload, ttl)
                temporary.move_to(temporary.fresh)
            self._settle(directory)
        except OSError as error:
            raise explained(error, directory.path, payload_nbytes(payload)) from error
        return FileKey(temporary.fresh)

    def put_batch(self, payloads: Sequence[Payload], *, ttl: float | None = None) -> list[FileKey]:
        """As `Connector.put_batch`. If one fails, those before it are removed."""
        keys: list[FileKey] = []
        try:
            for payload in payloads:
                keys.append(self.put(payload, ttl=ttl))  # noqa: PERF401 - those so far count
        except BaseException:
            for key in keys:
                self.evict(key)
            raise
        return keys

    def new_key(self, object_id: str | None = None) -> FileKey:
        self._attachment.require_open()
        key = FileKey(fresh_id() if object_id is None else object_id)
        checked_id(key, FileKey)
        return key

    @_in_present_directory
    def set(self, key: FileKey, payload: Payload, *, ttl: float | None = None) -> None:
        directory = self._attachment.directory()
        name = checked_id(key, FileKey)
        try:
            with self._temporary(directory, payload) as temporary:
                self._fill(directory, temporary, payload, ttl)
                try:
                    temporary.link_to(name)
                except FileExistsError:
                    if not remove_if_expired(directory, name):
                        raise
                    temporary.link_to(name)
            self._settle(directory)
        except FileExistsError:
            raise KeyAlreadySetError(repr(key)) from None
        except OSError as error:
            raise explained(error, directory.path, payload_nbytes(payload)) from error

    @_in_present_directory
    def replace(self, key: FileKey, payload: Payload) -> None:
        """As `Replaceable.replace`. The object keeps its time to live."""
        directory = self._attachment.directory()
        name = checked_id(key, FileKey)
        try:
            with self._temporary(directory, payload) as temporary:
                self._fill(directory, temporary, payload, None)
                with directory.changing():
                    status = _status(directory, name)
                    if status is None:
                        raise KeyNotSetError(repr(key))
                    renew(temporary.fd, status)
                    temporary.move_to(name)
            self._settle(directory)
        except OSError as error:
            raise explained(error, directory.path, payload_nbytes(payload)) from error

    def generation(self, key: FileKey) -> int | None:
        status = self._status_of(key)
        return None if status is None else generation(status)

    def get(self, key: FileKey) -> BytesLike | None:
        """As `Connector.get`: writable memory that is the caller's own."""
        return self._read(key, 0, None)

    def get_range(self, key: FileKey, offset: int, length: int) -> BytesLike | None:
        check_range(offset, length)
        return self._read(key, offset, length)

    @_in_present_directory
    def _read(self, key: FileKey, offset: int, length: int | None) -> BytesLike | None:
        directory = self._attachment.directory()
        name = checked_id(key, FileKey)
        try:
            try:
                fd = os.open(name, _READ, dir_fd=directory.fd)
            except FileNotFoundError:
                directory.require_present()
                return None
            try:
                status = os.fstat(fd)
                if directory.is_in_memory and status.st_size > RECYCLE_MORE_THAN:
                    # From here on nobody fills the file with something else.
                    lock(fd, _PUBLISHING_SECONDS, shared=True)
                    if not _is_still(directory, name, status):
                        return None
                    status = os.fstat(fd)
                if is_expired(status):
                    return None
                nbytes = max(0, status.st_size - offset)
                if length is not None:
                    nbytes = min(nbytes, length)
                return read_part(fd, offset, nbytes, mappable=directory.is_mappable)
            finally:
                os.close(fd)
        except OSError as error:
            raise explained(error, directory.path) from error

    def exists(self, key: FileKey) -> bool:
        return self._status_of(key) is not None

    def evict(self, key: FileKey) -> None:
        """As `Connector.evict`. In a directory that is gone there is nothing to evict."""
        directory = self._attachment.directory()
        name = checked_id(key, FileKey)
        try:
            self._remove(directory, name)
        except FileNotFoundError:
            if not directory.is_present and self._attachment.leave():
                with suppress(MediumGoneError):
                    self.evict(key)
        except OSError as error:
            raise explained(error, directory.path) from error

    @_in_present_directory
    def touch(self, key: FileKey, ttl: float | None) -> bool:
        directory = self._attachment.directory()
        name = checked_id(key, FileKey)
        expires_ns = expiry_after(ttl)
        try:
            with directory.changing():
                if _status(directory, name) is None:
                    return False
                fd = os.open(name, _READ, dir_fd=directory.fd)
                try:
                    if expires_ns is None:
                        release(fd)
                    else:
                        lease(fd, expires_ns)
                        self._expect_expiry()
                finally:
                    os.close(fd)
        except FileNotFoundError:
            directory.require_present()
            return False
        except OSError as error:
            raise explained(error, directory.path) from error
        return True

    @_in_present_directory
    def entries(self) -> Iterator[FileEntry]:
        """Every object there is now, in no order.

        Raises:
            ConnectorUnavailableError: The directory cannot be read or is gone.
        """
        directory = self._attachment.directory()
        directory.require_present()
        return _entries(directory)

    @_in_present_directory
    def gc(self) -> Collected:
        """Remove expired objects, what dead writers left, and files that wait to be used again.

        Costs one system call per object. Others may use the directory meanwhile.

        Raises:
            ConnectorUnavailableError: The directory cannot be read or is gone.
        """
        directory = self._attachment.directory()
        try:
            directory.require_present()
            collected = collect(directory)
            recycler = self._recycler(directory)
            if recycler is None:
                return collected
            return collected._replace(nbytes=collected.nbytes + recycler.trim())
        except OSError as error:
            raise explained(error, directory.path) from error

    def close(self, *, clear: bool | None = None) -> None:
        """As `Connector.close`. Only an owner made with ``clear=True`` clears by default."""
        self._attachment.close(clear=clear)

    def _fill(
        self, directory: Directory, temporary: Temporary, payload: Payload, ttl: float | None
    ) -> None:
        temporary.write(payload)
        expires_ns = expiry_after(ttl)
        if expires_ns is not None:
            if self._next_sweep is None:
                # The lock first: to evict a leased object takes it, and must not need room.
                directory.make_lock()
            lease(temporary.fd, expires_ns)
            self._expect_expiry()
        if self._durable:
            os.fsync(temporary.fd)

    def _settle(self, directory: Directory) -> None:
        if self._durable:
            os.fsync(directory.fd)
        if self._next_sweep is not None and time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + _SWEEP_SECONDS
            collect(directory)

    def _temporary(self, directory: Directory, payload: Payload) -> Temporary:
        return Temporary(directory, payload_nbytes(payload), self._recycler(directory))

    def _recycler(self, directory: Directory) -> Recycler | None:
        if not directory.is_in_memory or self._durable:
            return None
        recycler = self._recycling
        if recycler is None or recycler.directory is not directory:
            recycler = self._recycling = Recycler(directory)
        return recycler

    def _remove(self, directory: Directory, name: str) -> None:
        """Evict the object.

        Raises:
            FileNotFoundError: There is none.
        """
        status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
        # Under the lock: nobody may be about to remove it as expired, and so remove
        # what is set under the same key next.
        with directory.changing() if is_leased(status) else nullcontext():
            recycler = self._recycler(directory)
            if recycler is None or status.st_size <= RECYCLE_MORE_THAN:
                os.unlink(name, dir_fd=directory.fd)
            else:
                recycler.retire(name)

    def _expect_expiry(self) -> None:
        if self._next_sweep is None:
            self._next_sweep = time.monotonic() + _SWEEP_SECONDS

    @_in_present_directory
    def _status_of(self, key: FileKey) -> os.stat_result | None:
        directory = self._attachment.directory()
        name = checked_id(key, FileKey)
        try:
            status = _status(directory, name)
            if status is None:
                directory.require_present()
        except OSError as error:
            raise explained(error, directory.path) from error
        return status


def _status(directory: Directory, name: str) -> os.stat_result | None:
    try:
        status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return None if is_expired(status) else status


def _entries(directory: Directory) -> Iterator[FileEntry]:
    try:
        for name, status in objects(directory):
            created = status.st_ctime if is_leased(status) else status.st_mtime
            yield FileEntry(FileKey(name), status.st_size, created, expiry(status))
    except OSError as error:
        raise explained(error, directory.path) from error


def _is_still(directory: Directory, name: str, status: os.stat_result) -> bool:
    """Whether the object ``name`` is in the file of that status, not in one used again since."""
    try:
        found = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return found.st_ino == status.st_ino
