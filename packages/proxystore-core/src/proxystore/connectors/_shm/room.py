"""How much shared memory a medium may take, on which all its processes agree.

A file of the medium has the bound, and what was reserved. Nobody gives back what was
freed: when the bound seems to be reached, what is there is counted anew. So it does no
harm when somebody dies between reserving and using.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from proxystore.connectors._file.directory import Directory
from proxystore.connectors._file.failures import FULL
from proxystore.connectors._file.layout import ROOM
from proxystore.errors import MediumFullError
from proxystore.host.locks import lock, unlock
from proxystore.host.memory import usable_nbytes

__all__ = ["Fullness", "bound", "check_room", "default_bound", "reserve", "set_bound"]

_FREE_SHARE = 4
_MEMORY_SHARE = 10
_LOCK_SECONDS = 10.0
_PAUSE = 20
# A count of many files is not repeated at once.
_LONG_COUNT_NS = 2_000_000
# Nor is more believed: the file may be damaged.
_LONGEST_PAUSE_NS = 10_000_000_000
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
# Bound, bytes reserved, and until when not to count again.
_FIELDS = struct.Struct("=QQQ")


def default_bound(directory: Directory) -> int:
    """Bytes that a medium takes at most unless told: a share of what this machine has."""
    room = os.statvfs(directory.fd)
    free = room.f_bavail * room.f_frsize
    return min(free // _FREE_SHARE, usable_nbytes() // _MEMORY_SHARE)


def set_bound(directory: Directory, nbytes: int) -> None:
    """Bound what ``directory`` takes. For its owner, before others use it."""
    fd = os.open(ROOM, _OPEN | os.O_CREAT, 0o600, dir_fd=directory.fd)
    try:
        os.pwrite(fd, _FIELDS.pack(nbytes, 0, 0), 0)
    finally:
        os.close(fd)


def bound(directory: Directory) -> int | None:
    """Bytes that ``directory`` may take; `None` without a bound."""
    try:
        fd = os.open(ROOM, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.fd)
    except FileNotFoundError:
        return None
    try:
        return _fields(fd)[0]
    finally:
        os.close(fd)


def reserve(directory: Directory, nbytes: int) -> None:
    """Return if ``directory`` may take ``nbytes`` more (fewer, if negative). Costs some 6 us.

    Raises:
        OSError: ENOSPC: that would be beyond its bound.
        TimeoutError: Another process held the lock for 10 seconds.
    """
    try:
        fd = os.open(ROOM, _OPEN, dir_fd=directory.fd)
    except FileNotFoundError:
        return
    try:
        lock(fd, _LOCK_SECONDS)
        try:
            _reserve(directory, fd, -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE)
        finally:
            unlock(fd)
    finally:
        os.close(fd)


def check_room(directory: Directory, nbytes: int) -> None:
    """Return if ``directory`` could take ``nbytes`` more now.

    Raises:
        OSError: ENOSPC: it could not.
    """
    room = os.statvfs(directory.fd)
    if room.f_bavail * room.f_frsize < nbytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    reserve(directory, nbytes)
    reserve(directory, -nbytes)


def _reserve(directory: Directory, fd: int, nbytes: int) -> None:
    limit, reserved, not_before = _fields(fd)
    if reserved + nbytes > limit:
        started = time.monotonic_ns()
        if not 0 < not_before - started < _LONGEST_PAUSE_NS:
            reserved = _allocated(directory)
            taken = time.monotonic_ns() - started
            not_before = started + 5 * taken if taken > _LONG_COUNT_NS else 0
        if reserved + nbytes > limit:
            os.pwrite(fd, _FIELDS.pack(limit, reserved, not_before), 0)
            raise OSError(
                errno.ENOSPC, f"It may take {limit} bytes of shared memory, and {reserved} are used"
            )
    os.pwrite(fd, _FIELDS.pack(limit, max(0, reserved + nbytes), not_before), 0)


def _fields(fd: int) -> tuple[int, int, int]:
    data = os.pread(fd, _FIELDS.size, 0)
    # Of one who died before it was written, there is no bound.
    limit, reserved, not_before = (
        _FIELDS.unpack(data) if len(data) == _FIELDS.size else (1 << 63, 0, 0)
    )
    return limit, reserved, not_before


def _allocated(directory: Directory) -> int:
    total = 0
    for entry in directory.scan():
        with suppress(FileNotFoundError):
            total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


class Fullness:
    """Whether to look for room again, where there was none a moment ago.

    To find that there is none costs counts of all that is there: twenty times as long
    as that took, nobody asks again, unless something goes.
    """

    def __init__(self) -> None:
        self._until = 0.0

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Look for room; raises ENOSPC at once if there was none a moment ago.

        Raises:
            OSError: ENOSPC, or as the block raised.
        """
        started = time.monotonic()
        if started < self._until:
            raise OSError(errno.ENOSPC, "There was no room a moment ago")
        try:
            yield
        except OSError as error:
            if error.errno in FULL or isinstance(error, MediumFullError):
                now = time.monotonic()
                self._until = now + _PAUSE * (now - started)
            raise

    def forget(self) -> None:
        """Something went: ask again."""
        self._until = 0.0
