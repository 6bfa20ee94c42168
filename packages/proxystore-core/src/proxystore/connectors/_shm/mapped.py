"""Which processes keep the files of shared memory, and what they keep that has no name any more."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

__all__ = ["Mapped", "mappings", "removed_nbytes"]

_DELETED = " (deleted)"


class Mapped(NamedTuple):
    """A file that a process maps."""

    pid: int
    path: str
    nbytes: int
    """From the beginning of the file to the end of what is mapped."""
    removed: bool
    """Whether the name is gone: without another one, its memory is free when nobody maps it."""
    inode: int


def mappings(folder: str) -> Iterator[Mapped]:
    """What processes of this user map of the files below ``folder``.

    Nothing on systems without ``/proc``.
    """
    device = _device(folder)
    for pid in _pids():
        # Ended meanwhile, or of somebody else.
        with suppress(OSError), open(f"/proc/{pid}/maps", errors="surrogateescape") as maps:
            for line in maps:
                found = _mapping(int(pid), line, folder, device)
                if found is not None:
                    yield found


def removed_nbytes(folder: str) -> int:
    """Bytes of removed files below ``folder`` that processes of this user keep nevertheless.

    Exact for files that are open; of those that are only mapped, up to where they are. 0 on
    systems without ``/proc``.
    """
    by_inode: dict[int, int] = {}
    present = _inodes(folder)
    for each in mappings(folder):
        # One of its names may have gone, and another may be there.
        if each.removed and each.inode not in present:
            by_inode[each.inode] = max(each.nbytes, by_inode.get(each.inode, 0))
    by_inode.update((each.st_ino, each.st_blocks * 512) for each in _removed_and_open(folder))
    return sum(by_inode.values())


def _removed_and_open(folder: str) -> Iterator[os.stat_result]:
    device = _device(folder)
    for pid in _pids():
        # As above.
        with suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                link = f"/proc/{pid}/fd/{fd}"
                with suppress(FileNotFoundError):
                    if os.readlink(link).startswith(folder + "/"):
                        status = os.stat(link)
                        is_removed = stat.S_ISREG(status.st_mode) and not status.st_nlink
                        if is_removed and status.st_dev == device:
                            yield status


def _inodes(folder: str) -> set[int]:
    found: set[int] = set()
    with suppress(FileNotFoundError):
        for path in os.scandir(folder):
            # Cleared meanwhile, or a file.
            with suppress(OSError), os.scandir(path) as entries:
                found.update(entry.inode() for entry in entries)
    return found


def _device(folder: str) -> int | None:
    # In another container the same path is another directory.
    try:
        return os.stat(folder).st_dev
    except FileNotFoundError:
        return None


def _pids() -> list[str]:
    try:
        return [name for name in os.listdir("/proc") if name.isdecimal()]
    except FileNotFoundError:
        return []


def _mapping(pid: int, line: str, folder: str, device: int | None) -> Mapped | None:
    # proc(5): start-end permissions offset device inode path
    fields = line.rstrip("\n").split(maxsplit=5)
    if len(fields) < 6 or not fields[5].startswith(folder + "/"):
        return None
    major, _, minor = fields[3].partition(":")
    if os.makedev(int(major, 16), int(minor, 16)) != device:
        return None
    start, _, end = fields[0].partition("-")
    path = fields[5].removesuffix(_DELETED)
    nbytes = int(fields[2], 16) + int(end, 16) - int(start, 16)
    return Mapped(pid, path, nbytes, path != fields[5], int(fields[4]))
