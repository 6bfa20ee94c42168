"""Collecting what nobody will ask for: expired objects and what dead writers left."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from proxystore.connectors._file.directory import Directory
from proxystore.connectors._file.layout import TEMPORARY, is_object
from proxystore.connectors._file.lease import is_expired
from proxystore.connectors._file.removal import remove
from proxystore.host.locks import try_lock

__all__ = ["Collected", "collect", "is_old", "objects", "remove_if_expired"]

# Age from which an unlocked temporary is an orphan; a writer locks its own at once.
_ORPHAN_SECONDS = 60.0


class Collected(NamedTuple):
    """What a collection removed."""

    orphans: int
    """Objects that their writers died writing."""
    expired: int
    """Objects whose time to live was over."""
    nbytes: int
    """Bytes of both together, and of evicted objects whose files were kept for others."""


def collect(directory: Directory) -> Collected:
    """Remove expired objects and orphaned temporaries. Safe beside any other use.

    Costs one system call per file in the directory.
    """
    orphans = expired = nbytes = 0
    for entry, status in _files(directory):
        if entry.name.startswith(TEMPORARY):
            removed = _remove_orphan(directory, entry.name, status)
            orphans += removed
        else:
            removed = (
                is_object(entry.name)
                and is_expired(status, directory.clock)
                and remove_if_expired(directory, entry.name)
            )
            expired += removed
        nbytes += status.st_size if removed else 0
    return Collected(orphans, expired, nbytes)


def is_old(changed: float) -> bool:
    """Whether what changed then, in seconds since the epoch, is no longer being made."""
    # Long before now or after it: somebody may have set the clock back.
    return abs(time.time() - changed) > _ORPHAN_SECONDS


def objects(directory: Directory) -> Iterator[tuple[str, os.stat_result]]:
    """Name and status of each object that has not expired, in no order."""
    for entry, status in _files(directory):
        if is_object(entry.name) and not is_expired(status, directory.clock):
            yield entry.name, status


def remove_if_expired(directory: Directory, name: str) -> bool:
    """Remove the object if its time to live is over, whatever others do with it now."""
    with directory.changing(), suppress(FileNotFoundError):
        # Asked again under the lock: it may have been renewed since.
        status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
        if is_expired(status, directory.clock):
            remove(directory.fd, name, in_memory=directory.is_in_memory)
            return True
    return False


def _files(directory: Directory) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
    for entry in directory.scan():
        with suppress(FileNotFoundError):
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                yield entry, status


def _remove_orphan(directory: Directory, name: str, status: os.stat_result) -> bool:
    if not is_old(status.st_mtime):
        return False
    with suppress(FileNotFoundError):
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.fd)
        try:
            if try_lock(fd):
                os.unlink(name, dir_fd=directory.fd)
                return True
        finally:
            os.close(fd)
    return False
