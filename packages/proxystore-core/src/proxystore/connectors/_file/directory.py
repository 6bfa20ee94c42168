"""A directory of objects: opened once, checked, owned by at most one process."""

from __future__ import annotations

import atexit
import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Self

from proxystore.connectors._file.failures import explained, gone
from proxystore.connectors._file.layout import LOCK, MEDIUM, OWNER, SPILLED, is_ours
from proxystore.connectors._file.lease import Clock
from proxystore.connectors._file.removal import remove
from proxystore.directories import open_checked
from proxystore.errors import (
    ConnectorUnavailableError,
    MediumGoneError,
    NotOwnerError,
    UnsafeDirectoryError,
)
from proxystore.host.clocks import boot_ns
from proxystore.host.filesystems import filesystem_of, is_local, is_memory
from proxystore.host.forks import remake_in_child
from proxystore.host.locks import lock, try_lock, unlock

__all__ = ["Directory"]

_LOCK_TIMEOUT = 10.0
_ATTEMPTS = 16
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
# What rmdir says of a directory that holds files of others, or that is not ours to remove.
_KEPT = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.EACCES, errno.EPERM, errno.EBUSY})
_NO_LINK = frozenset({errno.ENOENT, errno.EINVAL})


class Directory:
    """An open directory that cannot be swapped for another one.

    Everything inside is reached relative to `fd`. Its descriptors close with
    the last reference to it, never under a thread that still uses them. A
    forked child does not own what its parent does.

    Made by `attach` or `create`.

    Args:
        path: Absolute.
        fd: The open directory, which becomes this object's to close.
    """

    __slots__ = ("__weakref__", "_owner_fds", "clock", "fd", "is_in_memory", "is_mappable", "path")

    def __init__(self, path: str, fd: int) -> None:
        self.path, self.fd = path, fd
        # At most one: a list because only one of several threads can pop it.
        self._owner_fds: list[int] = []
        kind = filesystem_of(path, os.fstat(fd).st_dev)
        self.is_in_memory = is_memory(kind)
        """Whether the objects live in the memory of this node."""
        self.is_mappable = is_local(kind)
        """Whether files can be mapped without fear of a server going away."""
        is_of_this_boot = self.is_in_memory or self._link(MEDIUM) is not None
        self.clock: Clock = boot_ns if is_of_this_boot else time.time_ns
        """Of leases: where only this node looks, nobody can set it back."""

    def __del__(self) -> None:
        self.disown()
        os.close(self.fd)

    @classmethod
    def attach(cls, path: str) -> Self:
        """Open a directory that somebody else made.

        Raises:
            MediumGoneError: There is none.
            UnsafeDirectoryError: It is a link, not a directory, or others can write to it.
            ConnectorUnavailableError: The system refused.
        """
        try:
            return cls(path, open_checked(path))
        except OSError as error:
            raise explained(error, path) from error

    @classmethod
    def adopt(cls, path: str) -> Self:
        """Open a directory that somebody else made, and own it.

        Raises:
            NotOwnerError: Its owner lives.
            UnsafeDirectoryError: As for `attach`; or it holds files without ever
                having been a directory of objects.
            MediumGoneError: There is none.
            ConnectorUnavailableError: The system refused.
        """
        try:
            directory = cls(path, open_checked(path))
            directory._adopt()
        except OSError as error:
            raise explained(error, path) from error
        return directory

    @classmethod
    def create(cls, path: str, *, adopt: bool = False) -> Self:
        """Open the directory, making and owning it if there is none.

        Whoever holds the lock owns: of several that race to create one, exactly
        one does. Makes parent directories.

        Args:
            path: Absolute.
            adopt: Own an existing one too, if its owner is gone.

        Raises:
            NotOwnerError: ``adopt`` was asked and its owner lives.
            UnsafeDirectoryError: As for `attach`, or as for `adopt`.
            ConnectorUnavailableError: The system refused.
        """
        try:
            _make_parents(path)
            for _ in range(_ATTEMPTS):
                # Its owner may close it between any two of these calls: then anew.
                with suppress(FileNotFoundError):
                    return cls._create_once(path, adopt=adopt)
        except OSError as error:
            raise explained(error, path) from error
        raise ConnectorUnavailableError(
            f"directory {path}",
            f"it was removed {_ATTEMPTS} times while it was being opened",
            "Give each store a directory of its own, or keep one owner open.",
        )

    @classmethod
    def _create_once(cls, path: str, *, adopt: bool) -> Self:
        made = True
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            made = False
        except FileNotFoundError as error:
            raise _not_made(path) from error
        directory = cls(path, open_checked(path))
        if made:
            directory._own()
        elif adopt:
            directory._adopt()
        return directory

    def _adopt(self) -> None:
        names = [entry.name for entry in self.scan()]
        if names and OWNER not in names:
            raise UnsafeDirectoryError(
                self.path, f"adopt=True, but it has files and no {OWNER}, so it was not made by us"
            )
        if not self._own():
            raise NotOwnerError(self.path)

    def _own(self) -> bool:
        fd = os.open(OWNER, _OPEN_LOCK, 0o600, dir_fd=self.fd)
        try:
            if not try_lock(fd):
                return False
            if os.fstat(fd).st_nlink == 0:
                # The last owner removed it before the lock was ours.
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            os.ftruncate(fd, 0)
            os.write(fd, b"%d\n" % os.getpid())
            self._owner_fds.append(fd)
            fd = -1
        finally:
            if fd >= 0:
                os.close(fd)
        remake_in_child(self)
        return True

    @property
    def is_owner(self) -> bool:
        """Whether this object holds the owner's lock."""
        return bool(self._owner_fds)

    def disown(self) -> None:
        """Let go of the owner's lock, which frees it unless this is a forked child."""
        _cleared_at_exit.discard(self)
        with suppress(IndexError):
            os.close(self._owner_fds.pop())

    def remade_in_child(self) -> None:
        """Disown: the child's copy of the lock would outlive the owner."""
        self.disown()

    @property
    def is_present(self) -> bool:
        """Whether the directory still is in the file system. Costs one system call."""
        return os.fstat(self.fd).st_nlink > 0

    def require_present(self) -> None:
        """Return if the directory `is_present`.

        Raises:
            MediumGoneError: It was removed.
        """
        if not self.is_present:
            raise gone(self.path)

    def make_lock(self) -> None:
        """See to it that `changing` makes no file, for which there may be no room."""
        os.close(os.open(LOCK, _OPEN_LOCK, 0o600, dir_fd=self.fd))

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock under which names are taken from objects that may be renewed.

        Raises:
            TimeoutError: Somebody held it for 10 seconds.
        """
        fd = os.open(LOCK, _OPEN_LOCK, 0o600, dir_fd=self.fd)
        try:
            lock(fd, _LOCK_TIMEOUT)
            try:
                yield
            finally:
                unlock(fd)
        finally:
            os.close(fd)

    def scan(self) -> Iterator[os.DirEntry[str]]:
        """The entries, in no order. Safe in several threads at once."""
        # A descriptor of its own: scandir moves the position, which `fd` shares.
        fd = os.open(".", _OPEN, dir_fd=self.fd)
        try:
            with os.scandir(fd) as entries:
                yield from entries
        finally:
            os.close(fd)

    @property
    def spilled(self) -> str | None:
        """Path of the directory that has what does not fit into this one; `None` without."""
        return self._link(SPILLED)

    def _link(self, name: str) -> str | None:
        try:
            return os.readlink(name, dir_fd=self.fd)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            return None

    def clear(self) -> None:
        """Remove everything of ours, and the directory unless others keep files in it.

        For the owner, which it then is no longer.
        """
        spilled = self.spilled
        with suppress(FileNotFoundError):
            self._remove_ours()
            os.unlink(OWNER, dir_fd=self.fd)
            # Others may store objects until the directory is gone.
            for _ in range(_ATTEMPTS):
                if self._removed() or not self._remove_ours():
                    break
        self.disown()
        if spilled is not None:
            with suppress(MediumGoneError, NotOwnerError):
                Directory.adopt(spilled).clear()

    def _remove_ours(self) -> int:
        names = [
            entry.name
            for entry in self.scan()
            if is_ours(entry.name) and (entry.is_symlink() or entry.is_file(follow_symlinks=False))
        ]
        for name in names:
            with suppress(FileNotFoundError):
                remove(self.fd, name, in_memory=self.is_in_memory)
        return len(names)

    def _removed(self) -> bool:
        try:
            os.rmdir(self.path)
        except OSError as error:
            if error.errno not in _KEPT:
                raise
            return False
        return True

    def clear_at_exit(self) -> None:
        """Keep this directory, and ownership of it, until it is cleared or the process ends."""
        if not _cleared_at_exit:
            atexit.unregister(_clear_all)
            atexit.register(_clear_all)
            _clear_all_at_end_of_worker(os.getpid())
        _cleared_at_exit.add(self)


_cleared_at_exit: set[Directory] = set()


def _clear_all() -> None:
    for directory in list(_cleared_at_exit):
        directory.clear()


@cache
def _clear_all_at_end_of_worker(_pid: int) -> None:
    # Before Python 3.13, forked workers of multiprocessing end without atexit.
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, _clear_all, exitpriority=0)


def _make_parents(path: str) -> None:
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    except FileNotFoundError as error:
        raise _not_made(path) from error


def _not_made(path: str) -> ConnectorUnavailableError:
    """The error where the parent is there and yet, says the system, a directory has none."""
    return ConnectorUnavailableError(
        f"directory {path}",
        "it does not exist and cannot be created there",
        "Name a directory on a file system that takes new ones.",
    )
