"""How many bytes of a producer's objects nobody has used yet, and waiting for fewer."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from proxystore.abc import Key
from proxystore.store import Store
from proxystore_patterns.errors import StreamFullError

__all__ = ["Credit", "Stored"]

_FIRST_WAIT, _LONGEST_WAIT = 0.0005, 0.02


class Stored(NamedTuple):
    """An object that was put into a store for an event."""

    store: Store[Any]
    key: Key
    nbytes: int
    evict: bool
    """Whether its first use removes it, and so gives its credit back."""


class Credit:
    """Bounds the bytes of objects that are in their stores until they are used.

    Credits come back by the census of the store: consumers evict what they
    use, and a producer that waits asks for the oldest of its objects whether
    they are there. So it works with every broker and store, and a consumer that
    died with an event gives nothing back. Thread safe.

    Args:
        bound: Bytes; `None` has no bound.
        timeout: Seconds to wait for room; `None` waits for as long as it takes.
    """

    def __init__(self, bound: int | None, timeout: float | None) -> None:
        self._bound, self._timeout = bound, timeout
        # Held by who waits, or small objects of others would for ever be before a large one.
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._nbytes = 0
        self._sent: deque[Stored] = deque()

    def take(self, nbytes: int) -> bool:
        """Take room for ``nbytes``, unless there is none or others wait for it."""
        if self._bound is None:
            return True
        if not self._turn.acquire(blocking=False):
            return False
        try:
            return self._took(nbytes)
        finally:
            self._turn.release()

    def wait_for_room(self, topic: str, nbytes: int, meanwhile: Callable[[], None]) -> None:
        """Take room for ``nbytes`` once they are within the bound, or nothing else is in flight.

        Args:
            topic: For the error.
            nbytes: Of an object.
            meanwhile: Called again and again.

        Raises:
            StreamFullError: Consumers did not use enough in time.
        """
        assert self._bound is not None
        seconds = threading.TIMEOUT_MAX if self._timeout is None else self._timeout
        deadline = time.monotonic() + seconds
        if not self._turn.acquire(timeout=seconds):
            raise StreamFullError(topic, self._bound, seconds)
        try:
            wait = _FIRST_WAIT
            self._look(nbytes)
            while not self._took(nbytes):
                if time.monotonic() >= deadline:
                    raise StreamFullError(topic, self._bound, seconds)
                meanwhile()
                # Jitter, or many producers ask one server at the same moments.
                time.sleep(wait * random.uniform(0.5, 1))  # noqa: S311 - no secret
                wait = min(wait * 2, _LONGEST_WAIT)
                self._look(nbytes)
        finally:
            self._turn.release()

    def give_back(self, nbytes: int) -> None:
        """Give back room that was taken for an object which is gone, or never came."""
        if self._bound is not None:
            with self._lock:
                self._nbytes -= nbytes

    def sent(self, stored: Iterable[Stored]) -> None:
        """Look from now on whether these, for which room was taken, are used."""
        if self._bound is not None:
            self._sent.extend(each for each in stored if each.evict)

    def _took(self, nbytes: int) -> bool:
        with self._lock:
            fits = self._fits(nbytes)
            if fits:
                self._nbytes += nbytes
            return fits

    def _fits(self, nbytes: int) -> bool:
        assert self._bound is not None
        return self._nbytes == 0 or self._nbytes + nbytes <= self._bound

    def _look(self, nbytes: int) -> None:
        """Ask for the oldest objects, until there is room for ``nbytes``."""
        for _ in range(len(self._sent)):
            if self._fits(nbytes):
                return
            oldest = self._sent[0]
            if oldest.store.exists(oldest.key):
                self._sent.rotate(-1)
            else:
                self._sent.popleft()
                self.give_back(oldest.nbytes)
