"""How a file says until when its object lives.

A leased object has the sticky bit, which means nothing on a file, and its
modification time is its expiry. So the lease appears with the object in one
step, and the `fstat` of each read tells. Times are in nanoseconds of the clock
of the directory (`Directory.clock`), on which all its processes agree.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from typing import TypeAlias

from proxystore.connectors.options import checked_ttl

__all__ = [
    "Clock",
    "expiry_after",
    "generation",
    "is_expired",
    "is_leased",
    "lease",
    "release",
    "remaining",
    "renew",
]

Clock: TypeAlias = Callable[[], int]
"""Tells the nanoseconds since some moment."""

_PLAIN = 0o600
_LEASED = stat.S_ISVTX | _PLAIN
# The year 2446: ext4 keeps no later time, and would silently store another.
_LATEST = 15_032_385_535.0


def is_leased(status: os.stat_result) -> bool:
    """Whether the object has a time to live."""
    return bool(status.st_mode & stat.S_ISVTX)


def is_expired(status: os.stat_result, clock: Clock) -> bool:
    """Whether the object counts as absent now."""
    return bool(status.st_mode & stat.S_ISVTX) and status.st_mtime_ns <= clock()


def remaining(status: os.stat_result, clock: Clock) -> float | None:
    """Seconds until the object ends; `None`: never."""
    return (status.st_mtime_ns - clock()) / 1e9 if is_leased(status) else None


def expiry_after(ttl: float | None, clock: Clock) -> int | None:
    """When an object of this time to live ends, if it begins now.

    Raises:
        ValueError: ``ttl`` is not greater than zero.
    """
    ttl = checked_ttl(ttl)
    # The smaller in seconds first: infinity is no integer of nanoseconds.
    return None if ttl is None else int(min(clock() / 1e9 + ttl, _LATEST) * 1e9)


def lease(fd: int, expires_ns: int) -> None:
    """Let the open file ``fd`` end at ``expires_ns``."""
    # The time first: a sticky file with its old time would count as expired.
    os.utime(fd, ns=(expires_ns, expires_ns))
    os.fchmod(fd, _LEASED)


def release(fd: int) -> None:
    """Let the open file ``fd`` live for ever."""
    os.fchmod(fd, _PLAIN)
    os.utime(fd)


def generation(status: os.stat_result) -> int:
    """A number that no earlier or later generation of the same object has."""
    return status.st_ino << 64 | status.st_mtime_ns


def renew(fd: int, older: os.stat_result) -> None:
    """Make the open file ``fd`` a later generation of ``older``, with the same lease.

    Neither inode nor time is enough as the kernel gives them: inodes are used
    again, and its clock stands still for milliseconds. So a time to live grows
    by a nanosecond, and any other file gets a finer time.
    """
    if is_leased(older):
        lease(fd, older.st_mtime_ns + 1)
    else:
        now = time.time_ns()
        os.utime(fd, ns=(now, now))
