"""How many bytes of a producer's objects nobody has used yet, and waiting for fewer."""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from proxystore.abc import Key
from proxystore.store import Store
from proxystore_patterns.errors import StreamFullError

__all__ = ["Credit", "Stored"]

_FIRST_WAIT, _LONGEST_WAIT = 0.0005, 0.02


class Stored(NamedTuple):
    """An object that its first use evicts."""

    store: Store[Any]
    key: Key
    nbytes: int


class Credit:
    """Bounds the bytes of objects that were sent and are still in their stores.

    Credits come back by the census of the store: consumers evict what they
    use, and a producer that waits asks for the oldest of its objects whether
    they are there. So it works with every broker and store, and a consumer that
    died with an event gives nothing back. Not thread safe.

    Args:
        bound: Bytes; `None` has no bound.
        timeout: Seconds to wait for room; `None` waits for as long as it takes.
    """

    def __init__(self, bound: int | None, timeout: float | None) -> None:
        if bound is not None and bound <= 0:
            raise ValueError(f"max_nbytes_in_flight={bound} was asked for: give at least 1.")
        self.bound, self._timeout = bound, timeout
        self._sent: deque[Stored] = deque()
        self._nbytes = 0

    def add(self, stored: Iterable[Stored]) -> None:
        """Count objects whose events were sent."""
        if self.bound is not None:
            for each in stored:
                self._sent.append(each)
                self._nbytes += each.nbytes

    def has_room(self, nbytes: int) -> bool:
        """Whether ``nbytes`` more are within the bound, as far as is known without asking."""
        return self.bound is None or self._nbytes + nbytes <= self.bound

    def make_room(self, topic: str, nbytes: int) -> None:
        """Return once ``nbytes`` more are within the bound, or nothing else is in flight.

        Raises:
            StreamFullError: Consumers did not use enough in time.
        """
        if self.has_room(nbytes):
            return
        assert self.bound is not None
        timeout = math.inf if self._timeout is None else self._timeout
        deadline = time.monotonic() + timeout
        wait = _FIRST_WAIT
        while not self._fits(nbytes):
            if time.monotonic() >= deadline:
                raise StreamFullError(topic, self.bound, timeout)
            # Jitter, or many producers ask one server at the same moments.
            time.sleep(wait * random.uniform(0.5, 1))  # noqa: S311 - no secret
            wait = min(wait * 2, _LONGEST_WAIT)

    def _fits(self, nbytes: int) -> bool:
        assert self.bound is not None
        for _ in range(len(self._sent)):
            if self._nbytes + nbytes <= self.bound:
                break
            sent = self._sent.popleft()
            if sent.store.exists(sent.key):
                self._sent.append(sent)
            else:
                self._nbytes -= sent.nbytes
        return not self._sent or self._nbytes + nbytes <= self.bound
