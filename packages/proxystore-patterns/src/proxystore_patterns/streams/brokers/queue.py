"""Queues of one process or of a tree of processes as a broker."""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import threading
import time
import weakref
from collections.abc import Mapping
from multiprocessing.context import BaseContext
from typing import Any, Protocol

from proxystore.abc import Acknowledgement
from proxystore_patterns._options import checked_wait
from proxystore_patterns.errors import EndOfStreamError, StreamTimeoutError
from proxystore_patterns.streams._contract import BrokerCapability, Delivery, Message
from proxystore_patterns.streams._events import (
    EndOfStreamEvent,
    bytes_to_event,
    event_to_bytes,
    is_end,
)

__all__ = ["ProcessQueue", "QueuePublisher", "QueueSubscriber"]

_SLICE = 1.0


# With the parameters of queue.Queue.
class _Queue(Protocol):
    def put(self, obj: bytes, block: bool, timeout: float | None) -> None: ...  # noqa: FBT001
    def get(self, block: bool, timeout: float | None) -> bytes: ...  # noqa: FBT001
    def qsize(self) -> int: ...


class _Count:
    """The producers of one queue, for threads of one process."""

    def __init__(self) -> None:
        # Of this run: begun, ended, expected. Of all: runs that ended, the newest whose end found
        # room. Any: of one process or more.
        self._counts: Any = [0, 0, 0, 0, 0]
        self._lock: Any = threading.Lock()

    @property
    def runs(self) -> int:
        """How many times the last producer has ended."""
        with self._lock:
            return int(self._counts[3])

    @property
    def is_running(self) -> bool:
        """Whether producers have begun and not all of them ended."""
        with self._lock:
            return bool(self._counts[0])

    def begin(self, producers: int) -> None:
        with self._lock:
            self._counts[0] += 1
            self._counts[2] = max(self._counts[2], producers)

    def end(self) -> int | None:
        """Count one that has ended; if it was the last, the number of the run."""
        with self._lock:
            begun, ended, expected, runs, _ = self._counts[:]
            if ended + 1 < max(begun, expected):
                self._counts[1] += 1
                return None
            self._counts[:4] = [0, 0, 0, runs + 1]
            return int(runs) + 1

    def tell(self, run: int) -> None:
        """Note that the end of ``run`` is in the queue."""
        with self._lock:
            self._counts[4] = run

    @property
    def is_told(self) -> bool:
        """Whether the end of the newest run that ended is in the queue, or was."""
        with self._lock:
            return bool(self._counts[4] == self._counts[3])


class _SharedCount(_Count):
    """The producers of one queue, for a tree of processes."""

    def __init__(self, context: BaseContext) -> None:
        self._counts = context.Array("q", 5)
        self._lock = self._counts.get_lock()


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
        self.count = _SharedCount(context)

    def put(self, obj: bytes, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002
        """As `queue.Queue.put`."""
        self._queue.put(obj, block, timeout)

    def get(self, block: bool = True, timeout: float | None = None) -> bytes:  # noqa: FBT001, FBT002
        """As `queue.Queue.get`."""
        found: bytes = self._queue.get(block, timeout)
        return found

    def qsize(self) -> int:
        """As `multiprocessing.Queue.qsize`."""
        return int(self._queue.qsize())


_COUNTS: weakref.WeakKeyDictionary[_Queue, _Count] = weakref.WeakKeyDictionary()
_COUNTS_LOCK = threading.Lock()


def _count_of(of: _Queue) -> _Count:
    if isinstance(of, ProcessQueue):
        return of.count
    with _COUNTS_LOCK:
        return _COUNTS.setdefault(of, _Count())


# object: whatever a caller gave.
def _check_queue(found: object) -> None:
    if not (hasattr(found, "put") and hasattr(found, "get")):
        raise TypeError(f"A queue is a queue.Queue or a ProcessQueue, not {found!r}.")


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
        for found in self._queues.values():
            _check_queue(found)
        self._block = block
        self._timeout = None if timeout is None else checked_wait("timeout", timeout)

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
        count = _count_of(self._queue(topic))
        run = count.end()
        if run is not None:
            self.send_message(topic, event_to_bytes(EndOfStreamEvent(topic, str(run))))
            count.tell(run)

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

    Who comes when the producers have ended gets what they left and the end, and if
    they left nothing waits for others to begin.

    Args:
        queue: As for `QueuePublisher`.
        block: Wait for a message when `next_message` is given no timeout.
        timeout: Most seconds to wait then.
    """

    delivery = Delivery.ONE

    def __init__(
        self, queue: Any, *, block: bool = True, timeout: float | None = None
    ) -> None:
        _check_queue(queue)
        self._queue: _Queue = queue
        timeout = None if timeout is None else checked_wait("timeout", timeout)
        self._timeout = timeout if block else 0.0
        self._over = False
        self._count = _count_of(self._queue)
        # The end of the last of these runs is for whoever waited for it, unless there is more
        # than that end.
        self._known = self._count.runs
        used_up = {0, 1} if self._count.is_told else {0}
        if not self._count.is_running and self._size() not in used_up:
            self._known -= 1

    @property
    def topic(self) -> str:
        """The queue, for it knows no topic."""
        return type(self._queue).__name__

    @property
    def capabilities(self) -> frozenset[BrokerCapability]:
        """None."""
        return frozenset()

    def next_message(self, timeout: float | None = None) -> Message:
        timeout = self._timeout if timeout is None else timeout
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._over:
            left = _SLICE if deadline is None else min(_SLICE, deadline - time.monotonic())
            try:
                data = self._queue.get(left > 0, max(left, 0))
            except queue.Empty as exc:
                # Somebody else may have taken the message that says so. Empty is not enough:
                # processes put by a thread.
                self._over = self._count.runs > self._known and self._size() == 0
                if deadline is not None and time.monotonic() >= deadline and not self._over:
                    raise StreamTimeoutError(self.topic, "message", timeout or 0) from exc
                continue
            if not is_end(data):
                return Message(data)
            self._take_end(data)
        raise EndOfStreamError(self.topic)

    def close(self) -> None:
        """Leave the queue to whoever made it."""

    def _size(self) -> int | None:
        try:
            return self._queue.qsize()
        # Of multiprocessing where semaphores tell no value, as on macOS.
        except NotImplementedError:
            return None

    def _take_end(self, data: bytes) -> None:
        event = bytes_to_event(data)
        assert isinstance(event, EndOfStreamEvent)
        self._over = int(event.producer) > self._known
        if self._over:
            # For the next; if it is full by now, others have begun.
            with contextlib.suppress(queue.Full):
                self._queue.put(data, False, None)  # noqa: FBT003 - as queue.Queue has it
