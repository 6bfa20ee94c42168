"""The lock under which slots of slabs are taken away, or their objects changed."""

from __future__ import annotations

import os
import threading
from types import TracebackType

from proxystore.connectors._file.directory import Directory
from proxystore.connectors._file.layout import SLABS_LOCK
from proxystore.host.locks import lock, unlock

__all__ = ["Changing"]

_LOCK_SECONDS = 10.0


class Changing:
    """Held by whoever takes slots away: one thread of one process, which may take it again.

    A garbage collection can run a finalizer that evicts an object in the midst of
    anything here. `depth` tells: what is held already is half changed.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._lock_fd = -1
        self.remade_in_child()

    def remade_in_child(self) -> None:
        """Let go of the parent's lock: that is of the open file, which both have."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
        self._lock_fd = -1
        self.mutex = threading.RLock()
        self.depth = 0
        self._locks = 0

    def __del__(self) -> None:
        if self._lock_fd >= 0:
            os.close(self._lock_fd)

    def __enter__(self) -> None:
        self.mutex.acquire()
        try:
            if not self._locks:
                self._lock()
        except BaseException:
            self.mutex.release()
            raise
        self._locks += 1
        self.depth += 1

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.depth -= 1
        self._locks -= 1
        if not self._locks:
            unlock(self._lock_fd)
        self.mutex.release()

    def _lock(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        while True:
            if self._lock_fd < 0:
                self._lock_fd = os.open(SLABS_LOCK, flags, 0o600, dir_fd=self._directory.fd)
            lock(self._lock_fd, _LOCK_SECONDS)
            if os.fstat(self._lock_fd).st_nlink:
                return
            # The directory was cleared: others lock another file now.
            os.close(self._lock_fd)
            self._lock_fd = -1
