"""What a run takes: its time, its tasks, and memory while it lasts."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tasks import Span

from proxystore.connectors.shm import ShmConnector
from proxystore.store import Store

__all__ = ["MemorySample", "Run", "Watch"]

_EVERY_S = 0.02


class MemorySample(NamedTuple):
    """What is in memory at one time."""

    at: float
    private_nbytes: int
    """Of all processes of the run, without what they share."""
    stored_nbytes: int
    """Of the objects in the store."""


@dataclass
class Run:
    """One way of running a miniature, once. Times begin with the run."""

    way: str
    makespan_s: float = 0.0
    spans: list[Span] = field(default_factory=list)
    memory: list[MemorySample] = field(default_factory=list)
    left_stored_nbytes: int = 0
    """Bytes of objects in the store when the last task was over."""

    @property
    def peak_private_nbytes(self) -> int:
        """The most private memory, above what the processes had before."""
        return max(sample.private_nbytes for sample in self.memory)

    @property
    def peak_stored_nbytes(self) -> int:
        """The most bytes of objects in the store at once."""
        return max(sample.stored_nbytes for sample in self.memory)


class Watch:
    """Samples memory and times a `with` block, whose `run` is complete after it.

    Args:
        way: Name of the run.
        store: Whose objects are counted.
    """

    def __init__(self, way: str, store: Store[ShmConnector]) -> None:
        self.run = Run(way)
        self._store = store
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample_on, daemon=True)

    def __enter__(self) -> Self:
        self._before = _private_nbytes()
        self._begun = time.monotonic()
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.run.makespan_s = time.monotonic() - self._begun
        self._over.set()
        self._thread.join()
        self._sample()
        self.run.spans = [
            span._replace(**{name: getattr(span, name) - self._begun for name in _TIMES})
            for span in self.run.spans
        ]

    def _sample_on(self) -> None:
        while not self._over.wait(_EVERY_S):
            self._sample()

    def _sample(self) -> None:
        private = _private_nbytes() - self._before
        stored = self._store.connector.census().nbytes
        self.run.memory.append(MemorySample(time.monotonic() - self._begun, private, stored))


_TIMES = ("begun", "started", "supplied", "ended")


def _private_nbytes() -> int:
    """Of this process and its workers. Pages of the store, which they map, are not private."""
    pids = [os.getpid(), *(each.pid for each in multiprocessing.active_children())]
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1]) * 1024
    return total
