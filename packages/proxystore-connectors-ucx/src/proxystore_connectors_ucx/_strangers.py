"""`Strangers`: connections from other nodes that have not proved anything yet."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

__all__ = ["Strangers"]


class Strangers:
    """So many at most: the one that has waited longest goes when another comes.

    Who holds the secret proves it at once. So those who say nothing shut nobody out, however
    many they are. Thread safe.

    Args:
        most: How many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        # In the order in which they came.
        self._waiting: dict[socket.socket, None] = {}

    def add(self, sock: socket.socket) -> None:
        """Begin to wait for the proof of ``sock``; end that of another, if they are too many."""
        with self._lock:
            self._waiting[sock] = None
            if len(self._waiting) > self._most:
                oldest = next(iter(self._waiting))
                del self._waiting[oldest]
                # Not closed: that is for the thread which reads from it.
                with suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)

    def remove(self, sock: socket.socket) -> None:
        """Wait for ``sock`` no longer. Idempotent."""
        with self._lock:
            self._waiting.pop(sock, None)
