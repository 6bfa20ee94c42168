"""What every byte of a directory in shared memory is for."""

from __future__ import annotations

import enum
import os
import stat
from collections import Counter
from contextlib import suppress
from typing import NamedTuple

from proxystore.connectors._file.directory import Directory
from proxystore.connectors._file.failures import explained
from proxystore.connectors._file.layout import FREE, MOVED, SLAB, TEMPORARY, is_object
from proxystore.connectors._file.lease import is_expired
from proxystore.connectors._shm.slabs import Slabs
from proxystore.errors import CorruptObjectError
from proxystore.host.locks import try_lock

__all__ = ["Census", "Use", "census_of", "take_census"]

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


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
    DAMAGED = "damaged slabs, or of another version"
    REMOVED = "removed, and still used by a process"
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


def take_census(directory: Directory) -> Census:
    """What is in ``directory`` now. Costs some 2 us a file, and 0.5 us a slot."""
    slabs = Slabs(directory)
    uses: Counter[Use] = Counter()
    n_objects = 0
    for entry in directory.scan():
        with suppress(FileNotFoundError):
            status = entry.stat(follow_symlinks=False)
            if entry.name.startswith(SLAB):
                n_objects += _count_slab(slabs, entry.name, status, uses)
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


def _use_of(directory: Directory, name: str, status: os.stat_result) -> Use:
    if not stat.S_ISREG(status.st_mode):
        return Use.OTHER
    if name.startswith(FREE):
        return Use.WAITING if _is_unused(directory, name) else Use.VIEWED
    if name.startswith(TEMPORARY):
        return Use.WRITING
    if is_object(name) or name.startswith(MOVED):
        return Use.EXPIRED if is_expired(status, directory.clock) else Use.OBJECTS
    return Use.OTHER


def _is_unused(directory: Directory, name: str) -> bool:
    fd = os.open(name, _OPEN, dir_fd=directory.fd)
    try:
        return try_lock(fd)
    finally:
        os.close(fd)


def _count_slab(slabs: Slabs, name: str, status: os.stat_result, uses: Counter[Use]) -> int:
    try:
        slab = slabs.slab_named(name.removeprefix(SLAB))
    except CorruptObjectError:
        uses[Use.DAMAGED] += _allocated(status)
        return 0
    if slab is None:
        # Removed just now.
        return 0
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
