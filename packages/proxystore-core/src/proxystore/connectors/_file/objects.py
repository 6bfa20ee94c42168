"""Objects of a directory by name, a file each."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from functools import wraps
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar

from proxystore.abc import Acknowledgement
from proxystore.connectors._file.attachment import Attachment
from proxystore.connectors._file.directory import Directory
from proxystore.connectors._file.failures import explained
from proxystore.connectors._file.layout import MOVED
from proxystore.connectors._file.lease import (
    expiry_after,
    generation,
    is_expired,
    is_leased,
    lease,
    release,
    remaining,
    renew,
)
from proxystore.connectors._file.reading import read_part
from proxystore.connectors._file.recycling import RECYCLE_MORE_THAN, Recycler
from proxystore.connectors._file.sweep import Collected, collect, objects, remove_if_expired
from proxystore.connectors._file.writing import Reserve, Temporary
from proxystore.errors import KeyAlreadySetError, KeyNotSetError, MediumGoneError
from proxystore.host.locks import lock
from proxystore.payload import BytesLike, Payload, payload_nbytes

__all__ = ["Described", "Objects"]

P = ParamSpec("P")
R = TypeVar("R")

_SWEEP_SECONDS = 30.0
# A writer holds its lock until the name is there; stopped just then, it stops its readers.
_PUBLISHING_SECONDS = 10.0
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Described(NamedTuple):
    """An object in a directory."""

    name: str
    nbytes: int
    created: float
    """Seconds since the epoch; of a leased object, when it was last touched."""
    expires: float | None
    """Seconds since the epoch; `None`: never."""


def _in_present_directory(
    operation: Callable[Concatenate[Objects, P], R],
) -> Callable[Concatenate[Objects, P], R]:
    """``operation``, tried once more in the directory that took the place of one that is gone."""

    @wraps(operation)
    def tried(self: Objects, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return operation(self, *args, **kwargs)
        except MediumGoneError:
            self.let_go()
            if not self._attachment.leave():
                raise
        return operation(self, *args, **kwargs)

    return tried


class Objects:
    """What a directory holds, an object in each file. Thread safe.

    Names were checked. Errors are those of `Connector`; those of keys that are set, or
    are not, have the name.

    Args:
        attachment: To the directory.
        reserve: Called before the directory takes more bytes; it raises OSError (ENOSPC)
            if it may not.
    """

    def __init__(self, attachment: Attachment, reserve: Reserve | None = None) -> None:
        self._attachment = attachment
        self._reserve = reserve
        self._durable = attachment.address.acknowledge is Acknowledgement.DISK
        # Set by the first lease: only then is there something to sweep.
        self._next_sweep: float | None = None
        self._recycling: Recycler | None = None

    def let_go(self) -> None:
        """Keep nothing of a directory that is closed or gone."""
        self._recycling = None

    @_in_present_directory
    def put(self, payload: Payload, ttl: float | None) -> str:
        """As `Leasable.put`; gives the name."""
        directory = self._attachment.directory()
        try:
            with self._temporary(directory, payload) as temporary:
                self._fill(directory, temporary, payload, ttl)
                temporary.move_to(temporary.fresh)
            self._settle(directory)
        except OSError as error:
            raise explained(error, directory.path, payload_nbytes(payload)) from error
        return temporary.fresh

    @_in_present_directory
    def set(self, name: str, payload: Payload, ttl: float | None) -> None:
        """As `Deferrable.set`."""
        directory = self._attachment.directory()
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
            raise KeyAlreadySetError(name) from None
        except OSError as error:
            raise explained(error, directory.path, payload_nbytes(payload)) from error

    @_in_present_directory
    def replace(self, name: str, payload: Payload) -> None:
        """As `Replaceable.replace`. The object keeps its time to live."""
        directory = self._attachment.directory()
        try:
            with self._temporary(directory, payload) as temporary:
                self._fill(directory, temporary, payload, None)
                with directory.changing():
                    status = _status(directory, name)
                    if status is None:
                        raise KeyNotSetError(name)
                    renew(temporary.fd, status)
                    temporary.move_to(name)
            self._settle(directory)
        except OSError as error:
            raise explained(error, directory.path, payload_nbytes(payload)) from error

    def generation(self, name: str) -> int | None:
        """As `Replaceable.generation`."""
        status = self.status(name)
        return None if status is None else generation(status)

    @_in_present_directory
    def read(
        self, name: str, offset: int = 0, length: int | None = None
    ) -> tuple[BytesLike, int] | None:
        """As `Ranged.get_range`, with the generation; to the end without ``length``.

        The memory is the caller's own.
        """
        directory = self._attachment.directory()
        try:
            while True:
                try:
                    fd = os.open(name, _READ, dir_fd=directory.fd)
                except FileNotFoundError:
                    directory.require_present()
                    return None
                try:
                    if _is_latest(directory, name, fd):
                        return _read(directory, fd, offset, length)
                finally:
                    os.close(fd)
        except OSError as error:
            raise explained(error, directory.path) from error

    def exists(self, name: str) -> bool:
        """As `Connector.exists`."""
        return self.status(name) is not None

    def wait(self, name: str, is_there: Callable[[], bool], timeout: float | None) -> bool:
        """As `Waitable.wait`, for what ``is_there`` looks for once ``name`` came."""
        # Imported here: most programs do not wait, and ctypes takes 5 ms.
        from proxystore.host.arrivals import wait_for

        return wait_for(self._attachment.directory().fd, name, is_there, timeout)

    def evict(self, name: str) -> None:
        """As `Connector.evict`. In a directory that is gone there is nothing to evict."""
        directory = self._attachment.directory()
        try:
            self._remove(directory, name)
        except FileNotFoundError:
            if not directory.is_present and self._attachment.leave():
                with suppress(MediumGoneError):
                    self.evict(name)
        except OSError as error:
            raise explained(error, directory.path) from error

    @_in_present_directory
    def touch(self, name: str, ttl: float | None) -> bool:
        """As `Leasable.touch`."""
        directory = self._attachment.directory()
        expires_ns = expiry_after(ttl, directory.clock)
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
    def entries(self) -> Iterator[Described]:
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

    def moved(self) -> list[str]:
        """Names of the objects that were elsewhere, and were replaced."""
        names = (entry.name for entry in self._attachment.directory().scan())
        return [name for name in names if name.startswith(MOVED)]

    def _fill(
        self, directory: Directory, temporary: Temporary, payload: Payload, ttl: float | None
    ) -> None:
        temporary.write(payload)
        expires_ns = expiry_after(ttl, directory.clock)
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
        nbytes = payload_nbytes(payload)
        return Temporary(directory, nbytes, self._recycler(directory), self._reserve)

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
    def status(self, name: str) -> os.stat_result | None:
        """Of the file of an object; `None` if there is none."""
        directory = self._attachment.directory()
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
    return None if is_expired(status, directory.clock) else status


def _entries(directory: Directory) -> Iterator[Described]:
    try:
        for name, status in objects(directory):
            created = status.st_ctime if is_leased(status) else status.st_mtime
            left = remaining(status, directory.clock)
            expires = None if left is None else time.time() + left
            yield Described(name, status.st_size, created, expires)
    except OSError as error:
        raise explained(error, directory.path) from error


def _is_latest(directory: Directory, name: str, fd: int) -> bool:
    """Whether object ``name`` is in the open file, which from here on is filled with no other."""
    status = os.fstat(fd)
    if not directory.is_in_memory:
        return True
    if status.st_size <= RECYCLE_MORE_THAN:
        # Or else its memory was freed, or it was replaced.
        return status.st_nlink > 0
    lock(fd, _PUBLISHING_SECONDS, shared=True)
    try:
        found = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return found.st_ino == status.st_ino


def _read(
    directory: Directory, fd: int, offset: int, length: int | None
) -> tuple[BytesLike, int] | None:
    status = os.fstat(fd)
    if is_expired(status, directory.clock):
        return None
    nbytes = max(0, status.st_size - offset)
    if length is not None:
        nbytes = min(nbytes, length)
    data = read_part(fd, offset, nbytes, mappable=directory.is_mappable)
    return data, generation(status)
