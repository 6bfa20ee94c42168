"""The events of one topic that a producer has made and not sent yet."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proxystore_patterns.streams._credit import Stored
from proxystore_patterns.streams._events import Metadata, ObjectEvent

__all__ = ["Batching", "Outbox", "Waiting"]


@dataclass(frozen=True, slots=True)
class Batching:
    """When a batch of events is full."""

    count: int = 1
    nbytes: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        bounds = {"size": self.count, "nbytes": self.nbytes, "seconds": self.seconds}
        for name, bound in bounds.items():
            if bound is not None and bound <= 0:
                raise ValueError(f"batch_{name}={bound} was asked for: give more than 0.")

    @property
    def buffers(self) -> bool:
        """Whether anything but the first event can be waited for."""
        return self.count > 1


@dataclass(slots=True)
class Waiting:
    """An object to aggregate with others. Any: of whatever type."""

    obj: Any
    evict: bool
    metadata: Metadata


class Outbox:
    """What waits to be sent to one topic, in order. Guard it with `lock`.

    Args:
        batching: When it is full.
        flush: Called in another thread when the first event has waited long enough.
    """

    def __init__(self, batching: Batching, flush: Callable[[], None]) -> None:
        self.lock = threading.RLock()
        self.events: list[ObjectEvent] = []
        self.stored: list[Stored] = []
        """What of `events` is in stores until its first use."""
        self.waiting: list[Waiting] = []
        self.sequence = 0
        self.closed = False
        self.failure: Exception | None = None
        """Of a flush in another thread, for the next caller."""
        self._batching, self._flush = batching, flush
        self._nbytes = 0
        self._timer: threading.Timer | None = None

    def next_sequence(self) -> int:
        """The number of the next object."""
        self.sequence += 1
        return self.sequence - 1

    def added(self, nbytes: int) -> bool:
        """Count what was just appended; whether the batch is full now."""
        self._nbytes += nbytes
        full = len(self.events) + len(self.waiting) >= self._batching.count or (
            self._batching.nbytes is not None and self._nbytes >= self._batching.nbytes
        )
        if not full and self._timer is None and self._batching.seconds is not None:
            # A daemon: a stream must not keep the interpreter from ending.
            self._timer = threading.Timer(self._batching.seconds, self._flush)
            self._timer.daemon = True
            self._timer.start()
        return full

    def emptied(self) -> None:
        """Forget what was sent."""
        self.events, self.stored, self.waiting, self._nbytes = [], [], [], 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def raise_failure(self) -> None:
        """Raise what a flush in another thread met, once."""
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
