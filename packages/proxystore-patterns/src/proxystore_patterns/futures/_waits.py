"""Waiting for the outcome of one future, in the thread that asks."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

from proxystore.abc import Capability, Key
from proxystore.errors import ObjectNotFoundError
from proxystore.store import Store
from proxystore_patterns._options import checked_number
from proxystore_patterns.errors import FutureTimeoutError
from proxystore_patterns.futures._deaths import LOOK_SECONDS, bury
from proxystore_patterns.futures._late import ended_error, has_ended
from proxystore_patterns.futures._outcomes import Outcome, read
from proxystore_patterns.futures._producers import has_begun
from proxystore_patterns.futures._watching import Watch

__all__ = ["Deadline", "await_outcome", "require_outcome"]


class Deadline:
    """The end of a wait that begins now.

    Args:
        timeout: Seconds; `None` and infinity: for ever; less than none: none.

    Raises:
        TypeError: ``timeout`` is something else.
        ValueError: It is not a number (NaN).
    """

    def __init__(self, timeout: float | None) -> None:
        wanted = "a number of seconds, or None to wait for ever"
        found = math.inf if timeout is None else checked_number("A timeout", timeout, wanted)
        self.timeout = max(0.0, found)
        self._at = time.monotonic() + self.timeout

    def left(self) -> float:
        """Seconds until then, as many as one call can wait."""
        return min(max(0.0, self._at - time.monotonic()), threading.TIMEOUT_MAX)


def await_outcome(store: Store[Any], key: Key, mark: Key | None, timeout: float | None) -> Outcome:
    """The outcome of a future, once it has one.

    Args:
        store: Of the future.
        key: Of the future.
        mark: Of its lifetime, if it has one.
        timeout: Seconds to wait; `None`: for ever, unless its producer dies.

    Raises:
        FutureTimeoutError: It had none by then.
        LifetimeEndedError: Its lifetime has ended.
        ObjectNotFoundError: It was evicted.
        TypeError: ``timeout`` is something else.
        ValueError: It is not a number (NaN).
        ConnectorUnavailableError: The medium cannot be reached.
    """
    deadline = Deadline(timeout)
    comes = _is_told if Capability.WAITABLE in store.capabilities else _is_seen
    if not comes(store, key, mark, deadline) and not has_ended(store, mark):
        bury(store, key, mark)
        if not store.exists(key):
            lives = has_begun(store, key)
            producer = "its producer is at work" if lives else "nobody said to have begun"
            raise FutureTimeoutError(repr(key), store.name, deadline.timeout, producer)
    return require_outcome(store, key, mark)


def _is_told(store: Store[Any], key: Key, mark: Key | None, deadline: Deadline) -> bool:
    """Wait in a medium that tells of objects, but not of what ended without one."""
    # Many may come after their lifetime: these are not to wait for the first look.
    patience = LOOK_SECONDS if mark is None else 0.0
    while not store.wait(key, min(deadline.left(), patience)):
        if not deadline.left() or has_ended(store, mark):
            return False
        bury(store, key, mark)
        patience = LOOK_SECONDS
    return True


def _is_seen(store: Store[Any], key: Key, mark: Key | None, deadline: Deadline) -> bool:
    """Wait for the one thread that looks for all who wait, whose looks become ever rarer."""
    while not store.exists(key):
        seen = threading.Event()
        watch = Watch(store, key, mark, seen.set)
        try:
            if has_ended(store, mark) or not seen.wait(deadline.left()):
                return False
        finally:
            watch.cancel()
    return True


def require_outcome(store: Store[Any], key: Key, mark: Key | None) -> Outcome:
    """The outcome of a future that has one.

    Raises:
        LifetimeEndedError: Its lifetime has ended.
        ObjectNotFoundError: It was evicted.
    """
    outcome = read(store, key)
    if outcome is None:
        if has_ended(store, mark):
            raise ended_error(store, key)
        raise ObjectNotFoundError(repr(key), type(store.connector).__name__, store.name)
    return outcome
