"""What every byte of a directory in shared memory is for, and which processes map it."""

from __future__ import annotations

import enum
import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from proxystore.connectors._file.directory import Directory
from proxystore.connectors._file.failures import explained
from proxystore.connectors._file.layout import FREE, MOVED, SLAB, TEMPORARY, is_object
from proxystore.connectors._file.lease import is_expired
from proxystore.connectors._shm.slab import Slab
from proxystore.connectors._shm.slabs import Slabs
from proxystore.host.locks import try_lock

__all__ = ["Census", "Mapped", "Use", "census_of", "mappings", "take_census"]

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_DELETED = " (deleted)"


class Use(enum.Enum):
    """What bytes of a medium are for."""

    OBJECTS = "objects"
    ROUNDING = "what pages and slots have beyond their objects"
    FREE_SLOTS = "free slots of slabs"
    TABLES = "tables of slabs"
    WAITING = "files waiting to be filled again"
    VIEWED = "files of evicted objects that somebody views"
    WRITING = "objects being written"
    EXPIRED = "objects whose time to live is over"
    REMOVED = "removed, and still mapped by a process"
    OTHER = "locks, and files of others"


class Census(NamedTuple):
    """What is in a directory of objects."""

    objects: int
    """How many there are."""
    uses: Counter[Use]
    """Bytes of the file system for each use; together, what the directory takes."""

    @property
    def nbytes(self) -> int:
        """Bytes of all objects together."""
        return self.uses[Use.OBJECTS]

    @property
    def recyclable(self) -> int:
        """Bytes that the next objects can take without more memory."""
        return self.uses[Use.FREE_SLOTS] + self.uses[Use.WAITING]


class Mapped(NamedTuple):
    """A file that a process maps."""

    pid: int
    path: str
    nbytes: int
    removed: bool
    """Whether the file has no name any more: its memory is free when nobody maps it."""
    inode: int


def take_census(directory: Directory) -> Census:
    """What is in ``directory`` now. Costs some 2 us a file, and 0.5 us a slot."""
    slabs = Slabs(directory)
    uses: Counter[Use] = Counter()
    n_objects = 0
    for entry in directory.scan():
        with suppress(FileNotFoundError):
            status = entry.stat(follow_symlinks=False)
            if entry.name.startswith(SLAB):
                slab = slabs.slab_named(entry.name.removeprefix(SLAB))
                if slab is not None:
                    n_objects += _count_slab(slab, status, uses)
                    continue
            use = _use_of(directory, entry.name, status)
            uses[use] += _allocated(status)
            if stat.S_ISLNK(status.st_mode) and is_object(entry.name):
                # On disk: here it takes nothing.
                n_objects += 1
            if use is Use.OBJECTS:
                # The object of one that moved is counted with its slot.
                n_objects += not entry.name.startswith(MOVED)
                beyond = _allocated(status) - status.st_size
                uses[Use.OBJECTS] -= beyond
                uses[Use.ROUNDING] += beyond
    return Census(n_objects, uses)


def census_of(path: str) -> Census:
    """What every byte is for that the directory of objects at ``path`` takes.

    Raises:
        MediumGoneError: There is none.
        UnsafeDirectoryError: It is a link, not a directory, or others can write to it.
        ConnectorUnavailableError: The system refused.
    """
    try:
        return take_census(Directory.attach(path))
    except OSError as error:
        raise explained(error, path) from error


def mappings(folder: str) -> Iterator[Mapped]:
    """What processes of this user map of the files below ``folder``.

    Nothing on systems without ``/proc``.
    """
    with suppress(FileNotFoundError):
        for pid in filter(str.isdigit, os.listdir("/proc")):
            # Ended meanwhile, or of somebody else.
            with suppress(OSError), open(f"/proc/{pid}/maps", errors="surrogateescape") as maps:
                for line in maps:
                    found = _mapping(int(pid), line, folder)
                    if found is not None:
                        yield found


def _mapping(pid: int, line: str, folder: str) -> Mapped | None:
    # proc(5): start-end permissions offset device inode path
    fields = line.rstrip("\n").split(maxsplit=5)
    if len(fields) < 6 or not fields[5].startswith(folder + "/"):
        return None
    start, _, end = fields[0].partition("-")
    path = fields[5].removesuffix(_DELETED)
    nbytes = int(end, 16) - int(start, 16)
    return Mapped(pid, path, nbytes, path != fields[5], int(fields[4]))


def _use_of(directory: Directory, name: str, status: os.stat_result) -> Use:
    if not stat.S_ISREG(status.st_mode):
        return Use.OTHER
    if name.startswith(FREE):
        return Use.WAITING if _is_unused(directory, name) else Use.VIEWED
    if name.startswith(TEMPORARY):
        return Use.WRITING
    if is_object(name) or name.startswith(MOVED):
        return Use.EXPIRED if is_expired(status) else Use.OBJECTS
    return Use.OTHER


def _is_unused(directory: Directory, name: str) -> bool:
    fd = os.open(name, _OPEN, dir_fd=directory.fd)
    try:
        return try_lock(fd)
    finally:
        os.close(fd)


def _count_slab(slab: Slab, status: os.stat_result, uses: Counter[Use]) -> int:
    sizes = [
        0 if slab.is_moved(slot, generation) else nbytes
        for slot, generation, nbytes, _ in slab.objects()
    ]
    n_free = slab.n_slots - len(sizes)
    uses[Use.OBJECTS] += sum(sizes)
    uses[Use.ROUNDING] += len(sizes) * slab.slot_nbytes - sum(sizes)
    uses[Use.FREE_SLOTS] += n_free * slab.slot_nbytes
    uses[Use.TABLES] += _allocated(status) - slab.n_slots * slab.slot_nbytes
    return len(sizes)


def _allocated(status: os.stat_result) -> int:
    return status.st_blocks * 512
