"""The private directories in which stores without a connector keep their objects."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from proxystore.connectors._file.directory import Directory
from proxystore.connectors._file.failures import explained
from proxystore.connectors._file.layout import OWNER
from proxystore.connectors._shm.census import take_census
from proxystore.connectors._shm.spill import collect_spilled
from proxystore.connectors.keys import fresh_id
from proxystore.directories import open_checked
from proxystore.errors import (
    ConnectorUnavailableError,
    MediumGoneError,
    NotOwnerError,
    UnsafeDirectoryError,
)
from proxystore.host.filesystems import filesystem_of, is_memory
from proxystore.host.locks import try_lock

__all__ = ["MediumInfo", "collect_media", "list_media", "media_folder", "private_directory"]

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - what is made there is private and checked
_MIN_FREE_NBYTES = 32 << 20
_NAME_LENGTH = 8
_MAX_COLLECTED = 64
_ATTEMPTS = 16


class MediumInfo(NamedTuple):
    """A private directory of objects, of this user, on this node."""

    path: str
    owner_pid: int | None
    """Process that made it (in its own pid namespace), if it lived to say so."""
    alive: bool
    """Whether that process still has it open."""
    objects: int
    nbytes: int
    """Bytes in all objects together."""


def private_directory(*, collect: bool = True) -> Directory:
    """A fresh directory for this user alone, owned, and cleared when the process ends.

    In shared memory where the system has 32 MiB of it free, in the directory for
    temporary files otherwise (see `Directory.is_in_memory`).

    Args:
        collect: Remove up to 64 directories whose owners died without closing them.

    Raises:
        UnsafeDirectoryError: Somebody else made the directory that holds them.
        ConnectorUnavailableError: The system refused.
    """
    try:
        parent = _parent(_shared_memory() or _temporary())
        os.makedirs(parent, mode=0o700, exist_ok=True)
        os.close(open_checked(parent))
        if collect:
            _collect_dead(parent)
    except OSError as error:
        raise explained(error, _SHARED_MEMORY) from error
    for _ in range(_ATTEMPTS):
        path = os.path.join(parent, fresh_id()[:_NAME_LENGTH])
        # Not the owner: a collection by another process came in between.
        if not os.path.lexists(path) and (directory := Directory.create(path)).is_owner:
            directory.clear_at_exit()
            return directory
    raise ConnectorUnavailableError(
        f"directory {parent}",
        f"{_ATTEMPTS} new directories in it were taken by others at once",
        "See what else this user runs there.",
    )


def list_media() -> list[MediumInfo]:
    """Every private directory of this user on this node, dead ones included.

    Raises:
        UnsafeDirectoryError: Somebody else made the directory that holds them.
    """
    found = []
    for path in _paths():
        # Closed meanwhile, or nothing of ours.
        with suppress(MediumGoneError, UnsafeDirectoryError):
            found.append(_describe(Directory.attach(path)))
    return found


def collect_media() -> list[MediumInfo]:
    """Remove every private directory of this user whose owner is dead.

    Returns:
        What was removed, as it was before.
    """
    removed = [info for info in list_media() if not info.alive and _collected(info.path)]
    collect_spilled()
    return removed


def media_folder() -> str:
    """Where private directories are that are in shared memory."""
    return _parent(_SHARED_MEMORY)


def _paths() -> list[str]:
    paths = []
    for parent in {_parent(_SHARED_MEMORY), _parent(_temporary())}:
        with suppress(FileNotFoundError):
            os.close(open_checked(parent))
            with os.scandir(parent) as entries:
                paths += [entry.path for entry in entries]
    return sorted(paths)


def _parent(root: str) -> str:
    return os.path.join(root, f"proxystore-{os.geteuid()}")


def _temporary() -> str:
    import tempfile

    return tempfile.gettempdir()


def _shared_memory() -> str | None:
    path = _SHARED_MEMORY
    try:
        room = os.statvfs(path)
        in_memory = is_memory(filesystem_of(path, os.stat(path).st_dev))
    except FileNotFoundError:
        return None
    roomy = room.f_bavail * room.f_frsize >= _MIN_FREE_NBYTES
    return path if in_memory and roomy and os.access(path, os.W_OK | os.X_OK) else None


def _collect_dead(parent: str) -> None:
    with os.scandir(parent) as entries:
        paths = [entry.path for entry in islice(entries, _MAX_COLLECTED)]
    for path in paths:
        _collected(path)


def _collected(path: str) -> bool:
    try:
        directory = Directory.adopt(path)
    except (ConnectorUnavailableError, NotOwnerError, UnsafeDirectoryError):
        return False
    directory.clear()
    return True


def _describe(directory: Directory) -> MediumInfo:
    pid, alive = _owner_of(directory)
    census = take_census(directory)
    return MediumInfo(directory.path, pid, alive, census.objects, census.nbytes)


def _owner_of(directory: Directory) -> tuple[int | None, bool]:
    try:
        fd = os.open(OWNER, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.fd)
    except FileNotFoundError:
        return None, False
    try:
        text = os.read(fd, 32).strip()
        return int(text) if text.isdigit() else None, not try_lock(fd, shared=True)
    finally:
        os.close(fd)
