"""Writing an object: in full under a name nobody reads, then into place at once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeAlias

from proxystore.connectors._file.directory import Directory
from proxystore.connectors._file.failures import FULL
from proxystore.connectors._file.layout import TEMPORARY
from proxystore.connectors._file.lease import release
from proxystore.connectors._file.reading import UNMAPPABLE
from proxystore.connectors._file.recycling import RECYCLE_MORE_THAN, Recycler, Segment
from proxystore.connectors.keys import fresh_id
from proxystore.host.locks import try_lock, unlock
from proxystore.payload import Payload, as_buffers

__all__ = ["Reserve", "Temporary", "write_all"]

Reserve: TypeAlias = Callable[[Directory, int], None]
"""Lets a directory take so many bytes more, or fewer."""

# Linux takes no more buffers in one call.
_IOV_MAX = 1024
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Temporary:
    """A file that is being written; removed on exit unless it was moved into place.

    Its writer locks it, and the kernel drops the lock of a dead one: that is
    how orphans are known. Named files rather than O_TMPFILE: that measured no
    faster, needs /proc and cannot take the place of a file.

    Args:
        directory: Where the object belongs.
        nbytes: Size of the object.
        recycler: Where to look for a file to fill again, if the object is large,
            and for room.
        reserve: Called before the directory takes more bytes.
    """

    __slots__ = (
        *("_directory", "_is_recycled", "_name", "_nbytes", "_pending", "_published"),
        *("_recycler", "_reserve", "_segment", "fd", "fresh"),
    )

    def __init__(
        self,
        directory: Directory,
        nbytes: int,
        recycler: Recycler | None = None,
        reserve: Reserve | None = None,
    ) -> None:
        self._directory, self._nbytes, self._recycler = directory, nbytes, recycler
        self._reserve = reserve
        self._is_recycled = recycler is not None and nbytes > RECYCLE_MORE_THAN
        self._segment: Segment | None = None
        self.fresh = fresh_id()
        """An identifier that no object has."""
        self._name = TEMPORARY + self.fresh
        self._pending = True
        self._published = ""

    def __enter__(self) -> Self:
        if self._recycler is not None and self._is_recycled:
            self._segment = self._recycler.take(self._nbytes, self._name)
        if self._segment is not None:
            self.fd = self._segment.fd
            return self
        self.fd = os.open(self._name, _CREATE, 0o600, dir_fd=self._directory.fd)
        try:
            try_lock(self.fd)
        except OSError:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._pending:
            with suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=self._directory.fd)
        if self._recycler is None or not (self._is_recycled and self._published):
            if self._segment is None:
                os.close(self.fd)
            return
        # Readers wait for this lock; the segment's descriptor stays open.
        unlock(self.fd)
        segment = self._segment or Segment(self.fd, self._nbytes)
        self._recycler.keep(self._published, segment)

    def write(self, payload: Payload) -> None:
        """Make ``payload`` the content.

        Raises:
            OSError: There is no room, or as write(2).
        """
        try:
            self._write(payload)
        except OSError as error:
            freed = self._recycler.trim() if error.errno in FULL and self._recycler else 0
            if not freed:
                raise
            if self._reserve is not None:
                self._reserve(self._directory, -freed)
            os.ftruncate(self.fd, 0)
            os.lseek(self.fd, 0, os.SEEK_SET)
            self._write(payload)

    def _write(self, payload: Payload) -> None:
        if self._reserve is not None:
            taken = os.fstat(self.fd).st_blocks * 512
            if self._nbytes > taken:
                self._reserve(self._directory, self._nbytes - taken)
        if self._segment is None:
            write_all(self.fd, payload)
        else:
            release(self.fd)
            self._refill(self._segment, payload)

    def _refill(self, segment: Segment, payload: Payload) -> None:
        try:
            segment.refill(payload, self._nbytes)
        except OSError as error:
            if error.errno not in UNMAPPABLE:
                raise
            os.lseek(self.fd, 0, os.SEEK_SET)
            write_all(self.fd, payload)
        # A store to memory changes no time, by which readers tell generations apart;
        # and the kernel's own clock stands still for milliseconds.
        now = time.time_ns()
        os.utime(self.fd, ns=(now, now))

    def move_to(self, name: str) -> None:
        """Become the file ``name``, in place of one that has that name."""
        where = self._directory.fd
        os.rename(self._name, name, src_dir_fd=where, dst_dir_fd=where)
        self._pending, self._published = False, name

    def link_to(self, name: str) -> None:
        """Become the file ``name``.

        Raises:
            FileExistsError: There is one of that name, which was not touched.
        """
        where = self._directory.fd
        os.link(self._name, name, src_dir_fd=where, dst_dir_fd=where, follow_symlinks=False)
        self._published = name


def write_all(fd: int, payload: Payload) -> None:
    """Write every buffer of ``payload`` to ``fd``, however little a call takes.

    Through write(2), never a mapping: that reports a full medium, where a
    store to a mapped hole would kill the process.

    Raises:
        OSError: As write(2). Part may be written.
    """
    views = [view for view in as_buffers(payload) if view]
    done = 0
    while done < len(views):
        written = os.writev(fd, views[done : done + _IOV_MAX])
        while done < len(views) and written >= len(views[done]):
            written -= len(views[done])
            done += 1
        if written:
            views[done] = views[done][written:]
