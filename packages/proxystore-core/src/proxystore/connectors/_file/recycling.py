"""Files of evicted objects in shared memory, kept for the objects that come next.

A fresh page of shared memory costs ten times what copying into an old one does. So the
file of a large object that is evicted is renamed, not removed, and whoever stores next
may fill it again: not while somebody has a view of what was there. Each view holds a
shared lock on the open file, which the kernel drops with the last descriptor of it; who
fills it holds the exclusive one.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from proxystore.connectors._file.directory import Directory
from proxystore.connectors._file.layout import FREE
from proxystore.connectors._file.removal import READ_UNLOCKED, remove
from proxystore.host.forks import remake_in_child
from proxystore.host.locks import try_lock
from proxystore.payload import Payload, as_buffers

__all__ = ["RECYCLE_MORE_THAN", "Recycler", "Segment"]

RECYCLE_MORE_THAN = READ_UNLOCKED
"""Bytes of the largest object whose file is removed rather than kept."""

# Each is a descriptor and a mapping of this process.
_MOST_KEPT = 32
_MOST_TRIED = 4
# Of the time of those who find nothing, that looking for it may take: one part in so many.
_SCAN_SHARE = 20
# Of the file system, that files without objects may take; looked at every so many evictions.
_FREE_SHARE = 8
_TRIM_EVERY = 32
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_FLAGS = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)


class Segment:
    """A file that this process fills, and has mapped once it fills it for the second time.

    Args:
        fd: Open for reading and writing; the segment's to close.
        nbytes: Size of the file.
    """

    __slots__ = ("_view", "fd", "inode", "nbytes")

    def __init__(self, fd: int, nbytes: int) -> None:
        self.fd, self.nbytes = fd, nbytes
        self.inode = os.fstat(fd).st_ino
        self._view: memoryview | None = None

    def __del__(self) -> None:
        os.close(self.fd)

    def refill(self, payload: Payload, nbytes: int) -> None:
        """Exchange what is in the file for ``payload``, which has ``nbytes``, at least 1.

        The caller holds the exclusive lock: nobody else maps the file.

        Raises:
            OSError: There is no room; or one of `UNMAPPABLE`, with the file of that size.
        """
        if nbytes != self.nbytes:
            self.nbytes = -1
            os.ftruncate(self.fd, nbytes)
            # Reserved, for a store into a hole of a full file system would kill the process.
            os.posix_fallocate(self.fd, 0, nbytes)
            self.nbytes = nbytes
        if self._view is None or len(self._view) < nbytes:
            # All at once: else each page that is there already costs a fault of its own.
            self._view = memoryview(mmap.mmap(self.fd, nbytes, flags=_FLAGS))
        position = 0
        for part in as_buffers(payload):
            end = position + len(part)
            self._view[position:end] = part
            position = end


class Recycler:
    """The segments of a directory that this process can fill again. Thread safe.

    A forked child leaves those of its parent alone: the two share their locks.

    Args:
        directory: In shared memory.
    """

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.remade_in_child()
        remake_in_child(self)

    def remade_in_child(self) -> None:
        """Begin with nothing."""
        self._lock = threading.Lock()
        self._segments: OrderedDict[str, Segment] = OrderedDict()
        self._strays: dict[str, int] = {}
        """Sizes of the files that the last scan found free, and nobody tried since."""
        self._evictions = 0
        self._next_scan = 0.0

    def take(self, nbytes: int, name: str) -> Segment | None:
        """A segment about as large as ``nbytes``, locked and under ``name`` from now on.

        `None` if there is none, or somebody still looks at each that was tried.
        """
        for candidates in (self._known, self._found):
            for free in candidates(nbytes):
                segment = self._claimed(free, name)
                if segment is not None:
                    return segment
        return None

    def keep(self, name: str, segment: Segment) -> None:
        """Remember the segment of object ``name`` for when that is evicted."""
        with self._lock:
            self._segments[name] = segment
            if len(self._segments) > _MOST_KEPT:
                self._segments.popitem(last=False)

    def retire(self, name: str) -> None:
        """Evict object ``name``, and keep its file for others.

        Raises:
            FileNotFoundError: There is none.
        """
        where = self.directory.fd
        os.rename(name, FREE + name, src_dir_fd=where, dst_dir_fd=where)
        with self._lock:
            if name in self._segments:
                self._segments.move_to_end(name, last=False)
            self._evictions += 1
            is_time = self._evictions % _TRIM_EVERY == 0
        if is_time:
            self.trim(_free_limit(where))

    def trim(self, limit: int = 0) -> int:
        """Remove files without objects until ``limit`` bytes of them are left, the oldest first.

        Returns:
            Bytes removed.
        """
        self._forget_removed()
        found = sorted(self._free(), key=lambda entry: entry[1].st_ctime_ns)
        kept = sum(_nbytes(status) for _, status in found)
        removed = 0
        for name, _ in found:
            if kept - removed <= limit:
                break
            with suppress(FileNotFoundError):
                removed += remove(self.directory.fd, name, in_memory=True)
        return removed

    def _forget_removed(self) -> None:
        """Let go of files that others removed: they take memory as long as they are open."""
        with self._lock:
            for name, segment in list(self._segments.items()):
                if not os.fstat(segment.fd).st_nlink:
                    del self._segments[name]

    def _known(self, nbytes: int) -> list[str]:
        """Those that this process has mapped, and that may have been evicted since."""
        with self._lock:
            fits = (name for name, each in self._segments.items() if _fits(each.nbytes, nbytes))
            fitting = list(islice(fits, _MOST_TRIED))
            for name in fitting:
                # Tried last next time: if it is in use now, it may be for long.
                self._segments.move_to_end(name)
        return fitting

    def _found(self, nbytes: int) -> Iterator[str]:
        """Those that were evicted some time ago: tasks of other processes evict what they used."""
        for _ in range(_MOST_TRIED):
            name = self._untried(nbytes) or self._scanned(nbytes)
            if name is None:
                return
            yield name

    def _scanned(self, nbytes: int) -> str | None:
        began = time.monotonic()
        if began < self._next_scan:
            return None
        found = {name.removeprefix(FREE): status.st_size for name, status in self._free()}
        ended = time.monotonic()
        self._strays, self._next_scan = found, ended + _SCAN_SHARE * (ended - began)
        return self._untried(nbytes)

    def _untried(self, nbytes: int) -> str | None:
        with self._lock:
            fits = (name for name, capacity in self._strays.items() if _fits(capacity, nbytes))
            name = next(fits, None)
            if name is not None:
                del self._strays[name]
        return name

    def _claimed(self, known: str, name: str) -> Segment | None:
        where, free = self.directory.fd, FREE + known
        try:
            # Now, or whoever looks for what dead writers left takes it for old.
            os.utime(free, dir_fd=where, follow_symlinks=False)
            os.rename(free, name, src_dir_fd=where, dst_dir_fd=where)
        except FileNotFoundError:
            return None
        with self._lock:
            segment = self._segments.pop(known, None)
        # Another process may have replaced the object, and with it the file of that name.
        if segment is None or segment.inode != self._inode(name):
            segment = self._opened(name)
        if try_lock(segment.fd):
            # Somebody may have changed its size, or freed its memory, since it was mapped.
            if os.fstat(segment.fd).st_size != segment.nbytes:
                segment.nbytes = -1
            return segment
        self.keep(known, segment)
        # Somebody has a view of what was there.
        with suppress(FileNotFoundError):
            os.rename(name, free, src_dir_fd=where, dst_dir_fd=where)
        return None

    def _inode(self, name: str) -> int:
        return os.stat(name, dir_fd=self.directory.fd, follow_symlinks=False).st_ino

    def _opened(self, name: str) -> Segment:
        fd = os.open(name, _OPEN, dir_fd=self.directory.fd)
        return Segment(fd, os.fstat(fd).st_size)

    def _free(self) -> Iterator[tuple[str, os.stat_result]]:
        for entry in self.directory.scan():
            if entry.name.startswith(FREE):
                with suppress(FileNotFoundError):
                    yield entry.name, entry.stat(follow_symlinks=False)


def _fits(capacity: int, nbytes: int) -> bool:
    return nbytes // 2 <= capacity <= 2 * nbytes


def _nbytes(status: os.stat_result) -> int:
    return status.st_blocks * 512


def _free_limit(fd: int) -> int:
    room = os.statvfs(fd)
    return room.f_blocks * room.f_frsize // _FREE_SHARE
