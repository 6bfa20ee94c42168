"""The private directories of this user, in memory and on disk: who owns them, what is in them."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NamedTuple

from proxystore.connectors._file.directory import Directory
from proxystore.connectors._file.layout import OWNER
from proxystore.connectors._file.media import collect_dead, media_paths
from proxystore.connectors._shm.census import take_census
from proxystore.connectors._shm.spill import collect_spilled
from proxystore.errors import MediumGoneError, UnsafeDirectoryError
from proxystore.host.locks import try_lock

__all__ = ["MediumInfo", "collect_media", "list_media"]


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


def list_media() -> list[MediumInfo]:
    """Every private directory of this user on this node, dead ones included.

    Raises:
        UnsafeDirectoryError: Somebody else made the directory that holds them.
    """
    found = []
    for path in media_paths():
        # Closed meanwhile, or nothing of ours.
        with suppress(MediumGoneError, UnsafeDirectoryError):
            found.append(_describe(Directory.attach(path)))
    return found


def collect_media() -> list[MediumInfo]:
    """Remove every private directory of this user whose owner is dead.

    Returns:
        What was removed, as it was before.
    """
    removed = [info for info in list_media() if not info.alive and collect_dead(info.path)]
    collect_spilled()
    return removed


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
