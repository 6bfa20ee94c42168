"""`HomeWatch`: a store process on another node than its owner's ends when the owner's has ended."""

from __future__ import annotations

import select
import socket
import time

from proxystore.errors import ConnectorUnavailableError
from proxystore_connectors_ucx._dial import connect_remote
from proxystore_connectors_ucx._options import Options
from proxystore_connectors_ucx._wire import Code, Frame, Link, WireError

__all__ = ["HomeWatch"]

_GRACE_S = 5.0
_DIAL_S = 1.0


class HomeWatch:
    """A connection to the owner's node that is kept for as long as that node serves.

    Args:
        options: Of the namespace, with an address.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._sock = socket.socket()
        self._link: Link | None = None
        self._has_ended = False
        self._last_seen = time.monotonic()
        self._dial()

    def is_there(self) -> bool:
        """Whether the owner's store process has not ended, as far as can be known.

        It says when it ends; if it is lost without a word, it may answer again within 5 s.
        Takes up to 1 s.
        """
        if self._link is not None and _has_news(self._sock):
            self._has_ended = self._has_ended or _says_goodbye(self._link)
            self._sock.close()
            self._link = None
        if self._has_ended:
            return False
        if self._link is None:
            self._dial()
        now = time.monotonic()
        if self._link is not None:
            self._last_seen = now
        return now - self._last_seen < _GRACE_S

    def _dial(self) -> None:
        assert self._options.address is not None
        try:
            self._sock, _ = connect_remote(self._options, self._options.address, _DIAL_S)
        except ConnectorUnavailableError:
            return
        link = Link(self._sock)
        try:
            link.send(Frame(Code.STAY))
            link.receive()
        except (EOFError, OSError, WireError):
            self._sock.close()
            return
        self._link = link


def _has_news(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _says_goodbye(link: Link) -> bool:
    try:
        return link.receive().code is Code.LEAVE
    except (EOFError, OSError, WireError):
        return False
