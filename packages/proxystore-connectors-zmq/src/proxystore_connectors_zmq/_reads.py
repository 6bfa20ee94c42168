"""`Reads`: a store process answers those who read objects as fast as they keep up."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

import zmq

from proxystore.payload import BytesLike
from proxystore.serving import ObjectTable
from proxystore_connectors_zmq._flow import Flow, Sent
from proxystore_connectors_zmq._wire import CHUNK_NBYTES, Reply, Request, Status

__all__ = ["Piece", "Pieces", "Reads", "Send"]

Piece = BytesLike | zmq.Frame
Pieces = tuple[Piece, ...]

_COPIED_NBYTES = 64 << 10
"""Up to which a copy costs less than to be told when it has been read."""
_SHARE = 4
_MIN_NBYTES = 8 * CHUNK_NBYTES
_MAX_WAITING = 16
"""Reads of one client. One of ours has four at once; what comes after these gets no answer."""


class Send(Protocol):
    """Sends a reply to a client: one message, of a header and of pieces as they are."""

    def __call__(self, client: bytes, reply: Reply, pieces: Sequence[BytesLike] = ()) -> Sent:
        """Send. Never blocks; a client that is gone gets nothing."""


class _Waiting:
    """Reads of a client that has not read what it got before."""

    def __init__(self) -> None:
        self.requests: deque[Request] = deque()
        self.since = time.monotonic()


class Reads:
    """Answers reads of a table, each with at most `CHUNK_NBYTES`. For one thread.

    A quarter of the bytes that the table may have can be on their way besides. Who asks
    for more before it has read that waits, and others do not.

    Args:
        table: Where the objects are.
        send: Takes the replies.
    """

    def __init__(self, table: ObjectTable[Pieces], send: Send) -> None:
        self._table, self._send = table, send
        self._flow = Flow(max(table.totals().max_nbytes // _SHARE, _MIN_NBYTES))
        self._waiting: dict[bytes, _Waiting] = {}

    def ask(self, client: bytes, request: Request) -> None:
        """Answer now, or when ``client`` has read more."""
        if client not in self._waiting and self._flow.admits(client):
            self._answer(client, request)
            return
        waiting = self._waiting.setdefault(client, _Waiting())
        if len(waiting.requests) < _MAX_WAITING:
            waiting.requests.append(request)

    def resume(self) -> bool:
        """Answer those who have read more; whether others wait, so that this is to be called."""
        for client, waiting in list(self._waiting.items()):
            while waiting.requests and self._flow.admits(client):
                self._answer(client, waiting.requests.popleft())
                waiting.since = time.monotonic()
            if not waiting.requests:
                del self._waiting[client]
        return bool(self._waiting)

    def forget(self, horizon: float) -> None:
        """Forget the reads of those who have read nothing since ``horizon``."""
        for client, waiting in list(self._waiting.items()):
            if waiting.since < horizon:
                del self._waiting[client]

    def _answer(self, client: bytes, request: Request) -> None:
        entry = self._table.find(request.object_id)
        if entry is None:
            self._send(client, Reply(Status.ABSENT, request.number))
            return
        start = min(request.a, entry.nbytes)
        left = entry.nbytes - start
        nbytes = min(request.b, left, CHUNK_NBYTES)
        head = Reply(Status.OK, request.number, left, entry.generation)
        parts = list(_part(entry.data, start, nbytes))
        if nbytes <= _COPIED_NBYTES:
            self._send(client, head._replace(data=b"".join(parts)))
        else:
            self._flow.add(client, nbytes, self._send(client, head, parts))


def _part(pieces: Pieces, start: int, nbytes: int) -> Iterator[memoryview]:
    """Views of the bytes from ``start``."""
    for piece in pieces:
        if nbytes <= 0:
            return
        if start < len(piece):
            view = memoryview(piece.buffer if isinstance(piece, zmq.Frame) else piece)
            view = view[start : start + nbytes]
            yield view
            nbytes -= len(view)
        start = max(0, start - len(piece))
