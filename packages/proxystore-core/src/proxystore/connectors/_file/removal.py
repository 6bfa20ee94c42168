"""Removing files of objects, and with them their memory."""

from __future__ import annotations

import errno
import os

from proxystore.connectors._file.layout import FREE, MOVED, is_object
from proxystore.host.locks import try_lock

__all__ = ["READ_UNLOCKED", "remove"]

READ_UNLOCKED = 65536
"""Bytes of the largest object that is read without a lock on its file, by copying."""

_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
# Removing must not need a descriptor where there is none.
_TOO_MANY = frozenset({errno.EMFILE, errno.ENFILE})


def remove(where: int, name: str, *, in_memory: bool) -> int:
    """Remove the file ``name`` of the directory open as ``where``; gives the bytes it took.

    In memory, those of a large object are free at once, unless somebody has a view of
    it: others may keep the file open, to fill it again, long after it has no name.

    Raises:
        FileNotFoundError: There is none.
    """
    status = os.stat(name, dir_fd=where, follow_symlinks=False)
    if not (in_memory and status.st_size > READ_UNLOCKED and _is_locked_to_be_read(name)):
        os.unlink(name, dir_fd=where)
        return status.st_blocks * 512
    try:
        fd = os.open(name, _OPEN, dir_fd=where)
    except OSError as error:
        if error.errno not in _TOO_MANY:
            raise
        os.unlink(name, dir_fd=where)
        return status.st_blocks * 512
    try:
        is_unused = try_lock(fd)
        os.unlink(name, dir_fd=where)
        # Now: a reader that opened it before sees that it has no name any more. And it
        # is this file that was removed, not one that took its name meanwhile.
        if is_unused and os.fstat(fd).st_nlink == 0:
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)
    return status.st_blocks * 512


def _is_locked_to_be_read(name: str) -> bool:
    return is_object(name) or name.startswith((FREE, MOVED))
