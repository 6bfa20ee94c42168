"""Reading an object: a private mapping of its file, or a copy of it."""

from __future__ import annotations

import errno
import mmap
import os
import resource
import sys
from functools import cache
from weakref import WeakSet

__all__ = ["MAP_MORE_THAN", "UNMAPPABLE", "read_part"]

MAP_MORE_THAN = 65536
"""Bytes up to which a copy is cheaper than a mapping and its page faults (7 us
against 14 us at 32 KiB, even at 64 KiB; measured on tmpfs and ext4)."""

UNMAPPABLE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENODEV})
"""Error numbers of limits on descriptors, mappings or memory, and of what cannot be mapped."""

_MAPPINGS = "/proc/sys/vm/max_map_count"
_USUAL_MAPPINGS = 65530
_views: WeakSet[mmap.mmap] = WeakSet()


def read_part(fd: int, offset: int, nbytes: int, *, mappable: bool) -> bytearray | memoryview:
    """``nbytes`` of the open file ``fd`` as writable memory of the caller's own.

    Args:
        fd: An object's file, which may be closed as soon as this returns.
        offset: Where to begin, at least 0.
        nbytes: How many bytes the file has from there, at least.
        mappable: Whether its file system allows mappings. A mapping lives as
            long as the view; changed pages are the caller's, the others shared.
    """
    mapped = _map(fd, offset, nbytes) if mappable and nbytes > MAP_MORE_THAN else None
    return _read(fd, offset, nbytes) if mapped is None else mapped


def _map(fd: int, offset: int, nbytes: int) -> memoryview | None:
    # Without mappings there is no memory either, nor threads: half of them are for others.
    if len(_views) >= _most_mappings() // 2:
        return None
    ahead = offset % mmap.ALLOCATIONGRANULARITY
    start, length = offset - ahead, nbytes + ahead
    try:
        if sys.version_info >= (3, 13):
            mapping = mmap.mmap(fd, length, access=mmap.ACCESS_COPY, offset=start, trackfd=False)
        elif _descriptors_run_short(fd):
            return None
        else:
            mapping = mmap.mmap(fd, length, access=mmap.ACCESS_COPY, offset=start)
    except OSError as error:
        if error.errno not in UNMAPPABLE:
            raise
        return None
    _views.add(mapping)
    return memoryview(mapping)[ahead:] if ahead else memoryview(mapping)


@cache
def _most_mappings() -> int:
    try:
        with open(_MAPPINGS, encoding="ascii") as file:
            return int(file.read())
    except FileNotFoundError:
        return _USUAL_MAPPINGS


def _descriptors_run_short(fd: int) -> bool:
    # Before 3.13 each mapping keeps a descriptor. The kernel gives out the lowest
    # free one, so all below it are taken: past half of them, copies it is.
    probe = os.dup(fd)
    os.close(probe)
    return probe >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2


def _read(fd: int, offset: int, nbytes: int) -> bytearray:
    data = bytearray(nbytes)
    done = os.preadv(fd, [data], offset)
    while done < nbytes:
        with memoryview(data)[done:] as rest:
            got = os.preadv(fd, [rest], offset + done)
        if not got:
            del data[done:]
            break
        done += got
    return data
