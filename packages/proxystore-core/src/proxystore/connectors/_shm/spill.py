"""Objects of a directory in shared memory, on a disk where they do not fit.

What is on disk has a symbolic link in its place, which takes no room. So the directory
in memory alone decides what there is: a name is given away once, and taken away once.
"""

from __future__ import annotations

import errno
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from proxystore.connectors._file.address import Address
from proxystore.connectors._file.attachment import Attachment
from proxystore.connectors._file.directory import Directory
from proxystore.connectors._file.layout import MEDIUM, SPILLED, TEMPORARY, is_object
from proxystore.connectors._file.lease import is_leased, remaining
from proxystore.connectors._file.media import make_private
from proxystore.connectors._file.objects import Described, Objects
from proxystore.connectors._file.removal import READ_UNLOCKED
from proxystore.connectors._file.sweep import Collected, is_old
from proxystore.connectors._shm.room import Fullness, bound, check_room, reserve
from proxystore.connectors.keys import fresh_id
from proxystore.errors import (
    ConnectorUnavailableError,
    KeyAlreadySetError,
    KeyNotSetError,
    MediumFullError,
    MediumGoneError,
    NotOwnerError,
)
from proxystore.host.locks import lock, unlock
from proxystore.payload import BytesLike, Payload, payload_nbytes

__all__ = ["SpillingObjects", "collect_spilled"]

_LOCK_SECONDS = 10.0
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Reading more takes longer than the caller would wait for what it asked.
_MOVE_BACK_NBYTES = 16 << 20
_warned: set[str] = set()


class SpillingObjects:
    """As `Objects`, in shared memory; on a disk what there is no room for. Thread safe.

    Args:
        attachment: To the directory in shared memory.
    """

    def __init__(self, attachment: Attachment) -> None:
        self._attachment = attachment
        self._objects = Objects(attachment, reserve)
        self._fullness = Fullness()
        self._way_back = Fullness()
        self._on_disk: tuple[Directory, Objects] | None = None

    def let_go(self) -> None:
        """As `Objects.let_go`."""
        self._objects.let_go()
        self._on_disk = None

    def put(self, payload: Payload, ttl: float | None) -> str:
        """As `Objects.put`."""
        try:
            with self._fullness.asking():
                return self._objects.put(payload, ttl)
        except OSError as error:
            on_disk = self._begin(error, payload)
        name = on_disk.put(payload, ttl)
        try:
            os.symlink(name, name, dir_fd=self._attachment.directory().fd)
        except OSError:
            on_disk.evict(name)
            raise
        return name

    def set(self, name: str, payload: Payload, ttl: float | None) -> None:
        """As `Objects.set`."""
        try:
            self._objects.set(name, payload, ttl)
        except KeyAlreadySetError:
            if not self._removed_if_expired(name):
                raise
            self.set(name, payload, ttl)
        except MediumFullError as error:
            on_disk = self._begin(error, payload)
            self._removed_if_expired(name)
            with self._moving():
                if self._objects.exists(name):
                    raise KeyAlreadySetError(name) from None
                # Of one who died before it was linked.
                on_disk.evict(name)
                on_disk.set(name, payload, ttl)
                self._link_once(name, on_disk)

    def replace(self, name: str, payload: Payload) -> None:
        """As `Objects.replace`."""
        try:
            if not self._is_on_disk(name):
                self._objects.replace(name, payload)
                return
        except MediumFullError as error:
            self._begin(error, payload)
        on_disk = self._required()
        with self._moving():
            status = self._objects.status(name)
            if status is None:
                raise KeyNotSetError(name)
            if stat.S_ISLNK(status.st_mode):
                on_disk.replace(name, payload)
                return
            left = remaining(status, self._attachment.directory().clock)
            on_disk.evict(name)
            on_disk.set(name, payload, None if left is None else max(left, 0.001))
            self._link_over(name)

    def generation(self, name: str) -> int | None:
        """As `Objects.generation`."""
        if self._is_on_disk(name):
            return self._required().generation(name)
        return self._objects.generation(name)

    def read(
        self, name: str, offset: int = 0, length: int | None = None
    ) -> tuple[BytesLike, int] | None:
        """As `Objects.read`. Moves a small object back into memory if there is room."""
        while True:
            try:
                return self._objects.read(name, offset, length)
            except ConnectorUnavailableError as error:
                if getattr(error.__cause__, "errno", None) != errno.ELOOP:
                    raise
            # It was on disk just now.
            if self._moved_back(name):
                continue
            found = self._required().read(name, offset, length)
            if found or self._is_on_disk(name):
                return found

    def exists(self, name: str) -> bool:
        """As `Objects.exists`."""
        if self._is_on_disk(name):
            return self._required().exists(name)
        return self._objects.exists(name)

    def wait(self, name: str, is_there: Callable[[], bool], timeout: float | None) -> bool:
        """As `Objects.wait`."""
        return self._objects.wait(name, is_there, timeout)

    def evict(self, name: str) -> None:
        """As `Objects.evict`."""
        self._fullness.forget()
        self._way_back.forget()
        on_disk = self._found()
        if on_disk is None:
            self._objects.evict(name)
            return
        with self._moving():
            self._objects.evict(name)
            on_disk.evict(name)

    def touch(self, name: str, ttl: float | None) -> bool:
        """As `Objects.touch`."""
        if self._is_on_disk(name):
            return self._required().touch(name, ttl)
        return self._objects.touch(name, ttl)

    def entries(self) -> Iterator[Described]:
        """As `Objects.entries`."""
        yield from self._objects.entries()
        on_disk = self._found()
        if on_disk is not None:
            yield from (each for each in on_disk.entries() if self._is_on_disk(each.name))

    def moved(self) -> list[str]:
        """As `Objects.moved`."""
        return self._objects.moved()

    def gc(self) -> Collected:
        """As `Objects.gc`."""
        collected = self._objects.gc()
        on_disk = self._found()
        if on_disk is None:
            return collected
        orphans, expired, nbytes = on_disk.gc()
        with self._moving():
            for each in on_disk.entries():
                if is_old(each.created) and not self._is_on_disk(each.name):
                    on_disk.evict(each.name)
                    orphans, nbytes = orphans + 1, nbytes + each.nbytes
            self._unlink_dangling(on_disk)
        return Collected(
            collected.orphans + orphans, collected.expired + expired, collected.nbytes + nbytes
        )

    # --- Where the rest is ----------------------------------------------------------

    def _found(self) -> Objects | None:
        """The objects on disk, if anybody has put some there."""
        directory = self._attachment.directory()
        if self._on_disk is not None and self._on_disk[0] is directory:
            return self._on_disk[1]
        path = directory.spilled
        if path is None:
            return None
        objects = Objects(Attachment(Address(path)))
        self._on_disk = directory, objects
        return objects

    def _required(self) -> Objects:
        on_disk = self._found()
        if on_disk is None:
            where = f"directory {self._attachment.address.path}"
            found = f"it has objects on disk, but no {SPILLED} to say where"
            raise ConnectorUnavailableError(
                where, found, "Somebody removed that: run 'proxystore gc'."
            )
        return on_disk

    def _begin(self, error: OSError, payload: Payload) -> Objects:
        """The objects on disk, as there is no room in memory; made if there are none.

        Raises:
            OSError: ``error`` is another one.
        """
        if error.errno != errno.ENOSPC and not isinstance(error, MediumFullError):
            raise error
        on_disk = self._found()
        directory = self._attachment.directory()
        if on_disk is None:
            _make(directory)
            on_disk = self._required()
        _warn_once(directory, payload_nbytes(payload))
        return on_disk

    @contextmanager
    def _moving(self) -> Iterator[None]:
        """Hold the lock under which objects change between memory and disk."""
        directory = self._attachment.directory()
        # The directory itself: another file might find no room.
        fd = os.open(".", _OPEN, dir_fd=directory.fd)
        try:
            lock(fd, _LOCK_SECONDS)
            try:
                yield
            finally:
                unlock(fd)
        finally:
            os.close(fd)

    def _is_on_disk(self, name: str) -> bool:
        try:
            where = self._attachment.directory().fd
            return stat.S_ISLNK(os.stat(name, dir_fd=where, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return False

    def _link_once(self, name: str, on_disk: Objects) -> None:
        try:
            os.symlink(name, name, dir_fd=self._attachment.directory().fd)
        except FileExistsError:
            on_disk.evict(name)
            raise KeyAlreadySetError(name) from None

    def _link_over(self, name: str) -> None:
        where, link = self._attachment.directory().fd, TEMPORARY + fresh_id()
        os.symlink(name, link, dir_fd=where)
        os.rename(link, name, src_dir_fd=where, dst_dir_fd=where)

    def _moved_back(self, name: str) -> bool:
        on_disk = self._required()
        status = on_disk.status(name)
        directory = self._attachment.directory()
        # One with a time to live would lose it; a small one is read as fast from there.
        if (
            status is None
            or not READ_UNLOCKED < status.st_size <= _MOVE_BACK_NBYTES
            or is_leased(status)
        ):
            return False
        try:
            with self._way_back.asking():
                # Twice: what is moved should not be the next to go.
                check_room(directory, 2 * status.st_size)
        except OSError:
            return False
        with self._moving():
            found = on_disk.read(name) if self._is_on_disk(name) else None
            if found is None:
                return False
            try:
                self._objects.replace(name, found[0])
            except MediumFullError:
                return False
            on_disk.evict(name)
        return True

    def _removed_if_expired(self, name: str) -> bool:
        if not self._is_on_disk(name):
            return False
        with self._moving():
            if not self._is_on_disk(name) or self._required().exists(name):
                return False
            os.unlink(name, dir_fd=self._attachment.directory().fd)
        return True

    def _unlink_dangling(self, on_disk: Objects) -> None:
        directory = self._attachment.directory()
        for entry in directory.scan():
            with suppress(FileNotFoundError):
                if entry.is_symlink() and _leads_nowhere(entry, on_disk):
                    os.unlink(entry.name, dir_fd=directory.fd)


def _leads_nowhere(link: os.DirEntry[str], on_disk: Objects) -> bool:
    if link.name.startswith(TEMPORARY):
        # Of one who died before it had its name.
        return is_old(link.stat(follow_symlinks=False).st_mtime)
    return is_object(link.name) and not on_disk.exists(link.name)


def collect_spilled() -> int:
    """Remove what is on disk of directories in memory that are gone; gives how many.

    Their owners clear both: these lost the one in memory when the machine ended.
    """
    removed = 0
    with suppress(FileNotFoundError):
        for entry in list(os.scandir(_parent())):
            # Removed just now, or in use.
            with suppress(FileNotFoundError, MediumGoneError, NotOwnerError):
                if _has_lost_its_memory(entry):
                    Directory.adopt(entry.path).clear()
                    removed += 1
    return removed


def _has_lost_its_memory(entry: os.DirEntry[str]) -> bool:
    try:
        return not os.path.lexists(os.readlink(os.path.join(entry.path, MEDIUM)))
    except FileNotFoundError:
        # Who made it may be about to say what for, or died before.
        return is_old(entry.stat(follow_symlinks=False).st_mtime)


def _parent() -> str:
    import tempfile

    return os.path.join(tempfile.gettempdir(), f"proxystore-{os.geteuid()}-spilled")


def _make(memory: Directory) -> None:
    """A private directory on disk for what does not fit into the one in memory."""
    parent = _parent()
    make_private(parent)
    made = Directory.create(os.path.join(parent, fresh_id()))
    os.symlink(memory.path, MEDIUM, dir_fd=made.fd)
    try:
        os.symlink(made.path, SPILLED, dir_fd=memory.fd)
    except FileExistsError:
        # Another process was first.
        made.clear()
    # It ends with the one in memory, whose owner clears both.
    made.disown()


def _warn_once(directory: Directory, nbytes: int) -> None:
    if not _warned:
        _warned.add(directory.path)
        limit = bound(directory)
        of = "" if limit is None else f", which may take {limit} bytes,"
        warnings.warn(
            f"There is no room in shared memory ({directory.path}){of} for an object of "
            f"{nbytes} bytes: it goes to disk ({directory.spilled}), as others will that "
            f"do not fit. Evict what is not used any more, or give ShmConnector a larger "
            f"max_nbytes. See 'proxystore stat'.",
            RuntimeWarning,
            stacklevel=5,
        )
