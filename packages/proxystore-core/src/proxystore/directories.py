"""Directories of this user alone: opened without following a link, and checked."""

from __future__ import annotations

import errno
import os
import stat

from proxystore.errors import UnsafeDirectoryError

__all__ = ["open_checked"]

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_checked(path: str) -> int:
    """A descriptor of the directory, which nobody else can write to.

    Raises:
        FileNotFoundError: There is none.
        UnsafeDirectoryError: It is a link, not a directory, not ours or not private.
    """
    try:
        fd = os.open(path, _OPEN)
    except OSError as error:
        if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
            raise
        found = "it is a symbolic link" if os.path.islink(path) else "it is not a directory"
        raise UnsafeDirectoryError(path, found) from error
    found = _unsafe(os.fstat(fd))
    if found:
        os.close(fd)
        raise UnsafeDirectoryError(path, found)
    return fd


def _unsafe(status: os.stat_result) -> str:
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != os.geteuid():
        return f"it belongs to user {status.st_uid}, and this process runs as {os.geteuid()}"
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others can write to it (mode {mode:04o})"
    return ""
