"""`Flow`: how much of its objects a store process has on the way to clients that may not read."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, Protocol

from proxystore_connectors_zmq._wire import CHUNK_NBYTES

__all__ = ["Flow", "Sent"]

_MAX_REPLIES = 8
"""To one client. One of ours asks for four ahead, and what it has read may count for a moment."""


class Sent(Protocol):
    """What was sent without a copy."""

    @property
    def done(self) -> bool:
        """Whether the system has taken it, or the client is gone."""


class _Reply(NamedTuple):
    nbytes: int
    sent: Sent


class Flow:
    """Bytes on their way to clients, bounded. For one thread.

    Without a bound, a reader that stopped would keep every object that it asked for in
    memory, evicted or not: 1.2 GB at a max_nbytes of 64 MiB.

    Args:
        max_nbytes: To all clients together. Past it, each can still have one reply.
    """

    def __init__(self, max_nbytes: int) -> None:
        self._max_nbytes = max_nbytes
        self._nbytes = 0
        self._replies: dict[bytes, deque[_Reply]] = {}

    def admits(self, client: bytes) -> bool:
        """Whether a reply of up to `CHUNK_NBYTES` may be sent to ``client`` now."""
        replies = self._settled(client)
        if not replies:
            return True
        if self._has_room():
            return len(replies) < _MAX_REPLIES
        for each in list(self._replies):
            self._settled(each)
        return self._has_room() and len(replies) < _MAX_REPLIES

    def add(self, client: bytes, nbytes: int, sent: Sent) -> None:
        """Count what was sent to ``client`` until it is done."""
        self._replies.setdefault(client, deque()).append(_Reply(nbytes, sent))
        self._nbytes += nbytes

    def _has_room(self) -> bool:
        return self._nbytes + CHUNK_NBYTES <= self._max_nbytes

    def _settled(self, client: bytes) -> deque[_Reply] | None:
        """What is still on its way to ``client``, if anything is."""
        replies = self._replies.get(client)
        while replies and replies[0].sent.done:
            self._nbytes -= replies.popleft().nbytes
        if not replies:
            self._replies.pop(client, None)
        return replies
