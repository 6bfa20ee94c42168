"""The private directories in which stores without a connector keep their objects."""

from __future__ import annotations

import os
from contextlib import suppress

from proxystore.connectors._file.directory import Directory
from proxystore.connectors._file.failures import explained
from proxystore.connectors.keys import fresh_id
from proxystore.directories import open_checked
from proxystore.errors import (
    ConnectorUnavailableError,
    NotOwnerError,
    UnsafeDirectoryError,
)
from proxystore.host.filesystems import filesystem_of, is_memory

__all__ = ["collect_dead", "make_private", "media_folder", "media_paths", "private_directory"]

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - what is made there is private and checked
_MIN_FREE_NBYTES = 32 << 20
_NAME_LENGTH = 8
_MAX_COLLECTED = 64
_ATTEMPTS = 16


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
        make_private(parent)
        if collect:
            _collect_all_dead(parent)
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


def make_private(path: str) -> None:
    """See to a directory at ``path`` that belongs to this user alone.

    Raises:
        UnsafeDirectoryError: Somebody else made it, or it is a link, or no directory.
        OSError: The system refused.
    """
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    os.close(open_checked(path))


def media_folder() -> str:
    """Where private directories are that are in shared memory."""
    return _parent(_SHARED_MEMORY)


def media_paths() -> list[str]:
    """Every private directory of this user on this node.

    Raises:
        UnsafeDirectoryError: Somebody else made the directory that holds them.
    """
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


def _collect_all_dead(parent: str) -> None:
    # From anywhere: the first ones may all be of the living.
    names, start = sorted(os.listdir(parent)), fresh_id()
    names.sort(key=lambda name: name < start)
    for name in names[:_MAX_COLLECTED]:
        collect_dead(os.path.join(parent, name))


def collect_dead(path: str) -> bool:
    """Remove a private directory whose owner is dead; whether it was."""
    try:
        directory = Directory.adopt(path)
    except (ConnectorUnavailableError, NotOwnerError, UnsafeDirectoryError):
        return False
    directory.clear()
    return True
