"""`HomeWatch`: a store process on another node than its owner's ends when the owner's has ended."""

from __future__ import annotations

import select
import socket
import time

from proxystore.errors import ConnectorUnavailableError
from proxystore_connectors_ucx._client import connect_remote
from proxystore_connectors_ucx._options import Options
from proxystore_connectors_ucx._wire import Code, Frame, Link, WireError

__all__ = ["HomeWatch"]

_GRACE_S = 5.0
_DIAL_S = 1.0
_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR


class HomeWatch:
    """A connection to the owner's node that is kept for as long as that node serves.

    Args:
        options: Of the namespace, with an address.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._sock: socket.socket | None = None
        self._last_seen = time.monotonic()

    def is_there(self) -> bool:
        """Whether the owner's store process answered within the last 5 s. Takes up to 1 s."""
        if self._sock is None or _is_gone(self._sock):
            self._sock = self._dial()
        now = time.monotonic()
        if self._sock is not None:
            self._last_seen = now
        return now - self._last_seen < _GRACE_S

    def _dial(self) -> socket.socket | None:
        assert self._options.address is not None
        try:
            sock = connect_remote(self._options, self._options.address, _DIAL_S)
        except ConnectorUnavailableError:
            return None
        link = Link(sock)
        try:
            link.send(Frame(Code.STAY))
            link.receive()
        except (EOFError, OSError, WireError):
            sock.close()
            return None
        return sock


def _is_gone(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, _GONE)
    return bool(poll.poll(0))
