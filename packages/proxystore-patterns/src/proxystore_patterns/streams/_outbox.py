"""What a producer has made for one topic and not sent yet."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proxystore_patterns._options import checked_count, checked_wait
from proxystore_patterns.streams._credit import Stored
from proxystore_patterns.streams._events import Metadata

__all__ = ["Batching", "Outbox", "Waiting"]


@dataclass(frozen=True, slots=True)
class Batching:
    """When a batch of events is full."""

    size: int = 1
    nbytes: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        checked_count("batch_size", self.size)
        if self.nbytes is not None:
            checked_count("batch_nbytes", self.nbytes)
        if self.seconds is not None:
            checked_wait("batch_seconds", self.seconds, zero=False)


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
        self.messages: list[bytes] = []
        """Events, as they are sent: what they were made of may change."""
        self.stored: list[Stored] = []
        """What of them is in stores."""
        self.waiting: list[Waiting] = []
        self.sequence = 0
        self.closed = False
        self.failure: Exception | None = None
        """The first of flushes in another thread, for the next caller."""
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
        full = len(self.messages) + len(self.waiting) >= self._batching.size or (
            self._batching.nbytes is not None and self._nbytes >= self._batching.nbytes
        )
        if not full and self._timer is None and self._batching.seconds is not None:
            # A daemon: a stream must not keep the interpreter from ending.
            self._timer = threading.Timer(self._batching.seconds, self._flush)
            self._timer.daemon = True
            self._timer.start()
        return full

    def take_waiting(self) -> list[Waiting]:
        """What is to be aggregated, which is not here any more, whatever becomes of it."""
        taken, self.waiting = self.waiting, []
        self._began_anew()
        return taken

    def take_messages(self) -> tuple[list[bytes], list[Stored]]:
        """What is to be sent, which is not here any more, whatever becomes of it."""
        taken = self.messages, self.stored
        self.messages, self.stored = [], []
        self._began_anew()
        return taken

    def raise_failure(self) -> None:
        """Raise what a flush in another thread met, once."""
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure

    def _began_anew(self) -> None:
        self._nbytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
