"""Writing an object: in full under a name nobody reads, then into place at once."""

from __future__ import annotations

import os
from contextlib import suppress
from types import TracebackType
from typing import Self

from proxystore.connectors._file.directory import Directory
from proxystore.connectors._file.layout import TEMPORARY
from proxystore.connectors.keys import fresh_id
from proxystore.host.locks import try_lock
from proxystore.payload import Payload, as_buffers

__all__ = ["Temporary", "write_all"]

# Linux takes no more buffers in one call.
_IOV_MAX = 1024
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Temporary:
    """A file that is being written; removed on exit unless it was moved into place.

    Its writer locks it, and the kernel drops the lock of a dead one: that is
    how orphans are known. Named files rather than O_TMPFILE: that measured no
    faster, needs /proc and cannot take the place of a file.

    Args:
        directory: Where the object belongs.
    """

    __slots__ = ("_directory", "_name", "_pending", "fd", "fresh")

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self.fresh = fresh_id()
        """An identifier that no object has."""
        self._name = TEMPORARY + self.fresh
        self._pending = True

    def __enter__(self) -> Self:
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
        os.close(self.fd)

    def move_to(self, name: str) -> None:
        """Become the file ``name``, in place of one that has that name."""
        where = self._directory.fd
        os.rename(self._name, name, src_dir_fd=where, dst_dir_fd=where)
        self._pending = False

    def link_to(self, name: str) -> None:
        """Become the file ``name``.

        Raises:
            FileExistsError: There is one of that name, which was not touched.
        """
        where = self._directory.fd
        os.link(self._name, name, src_dir_fd=where, dst_dir_fd=where, follow_symlinks=False)


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
