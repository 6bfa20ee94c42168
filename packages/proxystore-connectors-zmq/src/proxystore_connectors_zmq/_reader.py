"""`Reader`: objects from a store process, which gives as much at a time as a message holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from proxystore_connectors_zmq._channel import Channel
from proxystore_connectors_zmq._pool import Pool
from proxystore_connectors_zmq._wire import AHEAD, CHUNK_NBYTES, Op, Reply, Request, Status

__all__ = ["Found", "Reader"]


class Found(NamedTuple):
    """An object, or part of it, if there is one."""

    data: bytearray | None
    """The caller's own."""
    generation: int | None


class Reader:
    """Reads objects over one connection. Asks ahead, and never for more than it will read.

    Args:
        channel: The connection.
        pool: It is of.
    """

    def __init__(self, channel: Channel, pool: Pool) -> None:
        self._channel, self._pool = channel, pool

    def read(self, object_ids: Sequence[str], offset: int, nbytes: int) -> list[Found]:
        """The objects, or ``nbytes`` of each from ``offset``."""
        begun: list[tuple[bytearray, Reply]] = []
        asked: deque[int] = deque()
        for object_id in object_ids:
            if len(asked) == AHEAD:
                begun.append(self._begun(asked.popleft()))
            asked.append(self._ask(object_id, offset, nbytes))
        begun += map(self._begun, asked)
        return [
            self._whole(object_id, offset, nbytes, *first)
            for object_id, first in zip(object_ids, begun, strict=True)
        ]

    def _ask(self, object_id: str, offset: int, nbytes: int) -> int:
        number = self._channel.number()
        self._channel.send(Request(Op.GET, number, object_id, offset, nbytes))
        return number

    def _begun(self, number: int) -> tuple[bytearray, Reply]:
        """The first part of an object, or the reply that there is none."""
        data = bytearray()
        return data, self._take(number, data)

    def _take(self, number: int, data: bytearray) -> Reply:
        """Append a part. Grows in place: to make it as long first would write pages twice."""
        reply = self._pool.checked(self._channel.receive(number))
        data += reply.data
        self._channel.read(data)
        return reply

    def _whole(
        self, object_id: str, offset: int, nbytes: int, data: bytearray, first: Reply
    ) -> Found:
        while first.status is not Status.ABSENT:
            if self._has_rest(object_id, offset, min(nbytes, first.a), data, first.b):
                return Found(data, first.b)
            # It was replaced or evicted meanwhile: from the start.
            data, first = self._begun(self._ask(object_id, offset, nbytes))
        return Found(None, None)

    def _has_rest(
        self, object_id: str, offset: int, total: int, data: bytearray, generation: int
    ) -> bool:
        """Append what is missing of ``total``; `False` if the object is not that one by now."""
        end = min(total, CHUNK_NBYTES)
        self._check_length(data, end)
        asked: deque[tuple[int, int]] = deque()
        is_same = True
        while asked or (is_same and end < total):
            while is_same and end < total and len(asked) < AHEAD:
                nbytes = min(CHUNK_NBYTES, total - end)
                number = self._ask(object_id, offset + end, nbytes)
                end += nbytes
                asked.append((number, end))
            number, length = asked.popleft()
            is_same = self._take(number, data).b == generation and is_same
            if is_same:
                self._check_length(data, length)
        return is_same

    def _check_length(self, data: bytearray, nbytes: int) -> None:
        if len(data) != nbytes:
            raise self._pool.unavailable("it sent more or less of an object than it said")
