"""Queues of one process or of a tree of processes as a broker."""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import threading
import weakref
from collections.abc import Mapping
from multiprocessing.context import BaseContext
from typing import Any, Protocol

from proxystore.abc import Acknowledgement
from proxystore_patterns.errors import EndOfStreamError, StreamTimeoutError
from proxystore_patterns.streams._contract import BrokerCapability, Delivery, Message
from proxystore_patterns.streams._events import EndOfStreamEvent, event_to_bytes, is_end

__all__ = ["ProcessQueue", "QueuePublisher", "QueueSubscriber"]


_ROOM_WITHIN = 1.0


# With the parameters of queue.Queue.
class _Queue(Protocol):
    def put(self, obj: bytes, block: bool, timeout: float | None) -> None: ...  # noqa: FBT001
    def get(self, block: bool, timeout: float | None) -> bytes: ...  # noqa: FBT001


class _Count:
    """The producers of one queue, for threads of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = self._ended = self._expected = 0

    def begin(self, producers: int) -> None:
        with self._lock:
            self._begun += 1
            self._expected = max(self._expected, producers)

    def end(self) -> bool:
        """Count one that has ended; whether it was the last."""
        with self._lock:
            self._ended += 1
            return self._ended >= max(self._begun, self._expected)


class _SharedCount(_Count):
    """The producers of one queue, for a tree of processes."""

    def __init__(self, context: BaseContext) -> None:
        # begun, ended, expected; with a lock of its own.
        self._counts: Any = context.Array("q", 3)

    def begin(self, producers: int) -> None:
        with self._counts.get_lock():
            self._counts[0] += 1
            self._counts[2] = max(self._counts[2], producers)

    def end(self) -> bool:
        with self._counts.get_lock():
            self._counts[1] += 1
            return bool(self._counts[1] >= max(self._counts[0], self._counts[2]))


class ProcessQueue:
    """A queue between processes that counts its producers.

    Give it to child processes as an argument, as one does with
    `multiprocessing.Queue`. A process that is killed while it uses the queue may
    leave it locked for the others, as that one does: give timeouts.

    Args:
        maxsize: Most messages in it; more block their producers. 0 is no bound.
        context: How processes start; the default of the platform.
    """

    def __init__(self, maxsize: int = 0, *, context: BaseContext | None = None) -> None:
        context = context or multiprocessing.get_context()
        self._queue = context.Queue(maxsize)
        self.count: _Count = _SharedCount(context)

    def put(self, obj: bytes, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002
        """As `queue.Queue.put`."""
        self._queue.put(obj, block, timeout)

    def get(self, block: bool = True, timeout: float | None = None) -> bytes:  # noqa: FBT001, FBT002
        """As `queue.Queue.get`."""
        found: bytes = self._queue.get(block, timeout)
        return found


_COUNTS: weakref.WeakKeyDictionary[_Queue, _Count] = weakref.WeakKeyDictionary()
_COUNTS_LOCK = threading.Lock()


def _count_of(of: _Queue) -> _Count:
    if isinstance(of, ProcessQueue):
        return of.count
    with _COUNTS_LOCK:
        return _COUNTS.setdefault(of, _Count())


class QueuePublisher:
    """Puts the messages of each topic into its queue. Thread safe.

    A message goes to one of the subscribers of its queue. Acknowledged once it is
    in the queue, which survives nothing.

    Args:
        queues: The queue of each topic: `queue.Queue` between threads,
            `ProcessQueue` between processes. A plain `multiprocessing.Queue`
            counts the producers of one process only.
        block: Wait for room in a queue that has a bound.
        timeout: Most seconds to wait for it; `None` waits for as long as consumers take.
    """

    def __init__(
        self,
        queues: Mapping[str, Any],
        *,
        block: bool = True,
        timeout: float | None = None,
    ) -> None:
        self._queues: dict[str, _Queue] = dict(queues)
        self._block, self._timeout = block, timeout

    @property
    def acknowledges(self) -> Acknowledgement:
        """`MEMORY`: a queue ends with its processes."""
        return Acknowledgement.MEMORY

    def begin(self, topic: str, producer: str, *, producers: int = 1) -> None:
        _count_of(self._queue(topic)).begin(producers)

    def send_message(self, topic: str, message: bytes) -> None:
        """As `Publisher.send_message`.

        Raises:
            StreamTimeoutError: The queue was full for as long as `timeout`.
            KeyError: The topic has no queue.
        """
        try:
            self._queue(topic).put(message, self._block, self._timeout)
        except queue.Full as exc:
            raise StreamTimeoutError(topic, "room in the queue", self._timeout or 0) from exc

    def end(self, topic: str, producer: str) -> None:
        if _count_of(self._queue(topic)).end():
            self.send_message(topic, event_to_bytes(EndOfStreamEvent(topic, producer)))

    def close(self) -> None:
        """Leave the queues to whoever made them."""

    def _queue(self, topic: str) -> _Queue:
        try:
            return self._queues[topic]
        except KeyError:
            known = ", ".join(map(repr, self._queues)) or "none"
            raise KeyError(
                f"Topic {topic!r} has no queue (those that have: {known}). Name it in "
                f"QueuePublisher(queues={{topic: queue}})."
            ) from None


class QueueSubscriber:
    """Takes messages out of one queue, each of which one subscriber gets.

    Args:
        queue: As for `QueuePublisher`.
        block: Wait for a message when `next_message` is given no timeout.
        timeout: Most seconds to wait then.
    """

    delivery = Delivery.ONE

    def __init__(
        self, queue: Any, *, block: bool = True, timeout: float | None = None
    ) -> None:
        self._queue: _Queue = queue
        self._timeout = timeout if block else 0.0
        self._over = False

    @property
    def topic(self) -> str:
        """The queue, for it knows no topic."""
        return type(self._queue).__name__

    @property
    def capabilities(self) -> frozenset[BrokerCapability]:
        """None."""
        return frozenset()

    def next_message(self, timeout: float | None = None) -> Message:
        if self._over:
            raise EndOfStreamError(self.topic)
        timeout = self._timeout if timeout is None else timeout
        try:
            data = self._queue.get(timeout is None or timeout > 0, timeout)
        except queue.Empty as exc:
            raise StreamTimeoutError(self.topic, "message", timeout or 0) from exc
        if is_end(data):
            self._over = True
            self._tell_the_next(data)
            raise EndOfStreamError(self.topic)
        return Message(data)

    def close(self) -> None:
        """Leave the queue to whoever made it."""

    def _tell_the_next(self, data: bytes) -> None:
        # The end is the last message, so there is room for it.
        with contextlib.suppress(queue.Full):
            self._queue.put(data, True, _ROOM_WITHIN)  # noqa: FBT003 - as queue.Queue has it
