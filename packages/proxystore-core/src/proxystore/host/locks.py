"""Locks on open files, shared by every process that opens the same file.

A lock belongs to the open file, which forked children share, and ends with its
last descriptor. So a lock that is kept is never unlocked explicitly: in a
child that would free the lock of its parent. One that is held for a moment is
unlocked explicitly by who took it: a child forked meanwhile would keep it.
"""

from __future__ import annotations

import errno
import fcntl
import time

__all__ = ["NO_LOCKS", "lock", "try_lock", "unlock"]

NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})
"""Error numbers of a file system without locks (Lustre without ``flock``, some FUSE)."""

# Hundreds that all looked again at once would leave no time to who has the lock.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0002, 0.02


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Lock the open file ``fd`` if nobody holds a conflicting lock.

    Raises:
        OSError: The file system has no locks (`NO_LOCKS`).
    """
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock(fd: int, timeout: float, *, shared: bool = False) -> None:
    """Lock the open file ``fd``, waiting up to ``timeout`` seconds for others.

    Raises:
        TimeoutError: Somebody held the lock all that time.
        OSError: The file system has no locks (`NO_LOCKS`).
    """
    deadline, pause = time.monotonic() + timeout, _FIRST_PAUSE
    while not try_lock(fd, shared=shared):
        # flock has no timeout of its own, and a stopped holder must not stop everybody.
        if time.monotonic() >= deadline:
            raise TimeoutError(errno.ETIMEDOUT, f"Locked by another process for {timeout:g} s")
        time.sleep(pause * (0.5 + time.monotonic_ns() % 1024 / 1024))
        pause = min(1.5 * pause, _LONGEST_PAUSE)


def unlock(fd: int) -> None:
    """End a lock that the caller itself took, in this process."""
    fcntl.flock(fd, fcntl.LOCK_UN)
