"""Waiting for the outcome of one future, in the thread that asks."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

from proxystore.abc import Key
from proxystore.errors import KeyAlreadySetError, ObjectNotFoundError
from proxystore.store import Store
from proxystore_patterns.errors import FutureTimeoutError, ProducerDiedError
from proxystore_patterns.futures._outcomes import Outcome, failure, read, write
from proxystore_patterns.futures._producers import begun_key, has_begun, has_died, producer_of

__all__ = ["LOOK_SECONDS", "Deadline", "await_outcome", "bury", "require_outcome"]

LOOK_SECONDS = 0.5
"""How often one who waits looks whether the producer lives."""


class Deadline:
    """The end of a wait that begins now.

    Args:
        timeout: Seconds; `None` and infinity: for ever; less than none: none.

    Raises:
        ValueError: ``timeout`` is not a number.
    """

    def __init__(self, timeout: float | None) -> None:
        seconds = math.inf if timeout is None else timeout
        if math.isnan(seconds):
            raise ValueError("A timeout is in seconds, or None to wait for ever; it was nan.")
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then, as many as one call can wait."""
        return min(max(0.0, self._at - time.monotonic()), threading.TIMEOUT_MAX)


def await_outcome(store: Store[Any], key: Key, timeout: float | None) -> Outcome:
    """The outcome of a future, once it has one.

    Args:
        store: Of the future.
        key: Of the future.
        timeout: Seconds to wait; `None`: for ever, unless its producer dies.

    Raises:
        FutureTimeoutError: It had none by then.
        ValueError: ``timeout`` is not a number.
        ConnectorUnavailableError: The medium cannot be reached.
    """
    deadline = Deadline(timeout)
    while True:
        left = deadline.left()
        if store.wait(key, min(left, LOOK_SECONDS)):
            return require_outcome(store, key)
        bury(store, key)
        if timeout is not None and left == 0 and not store.exists(key):
            lives = has_begun(store, key)
            producer = "its producer is at work" if lives else "nobody said to have begun"
            raise FutureTimeoutError(repr(key), store.name, timeout, producer)


def require_outcome(store: Store[Any], key: Key) -> Outcome:
    """The outcome of a future that has one.

    Raises:
        ObjectNotFoundError: It was evicted, by a lifetime perhaps.
    """
    outcome = read(store, key)
    if outcome is None:
        raise ObjectNotFoundError(repr(key), type(store.connector).__name__, store.name)
    return outcome


def bury(store: Store[Any], key: Key) -> None:
    """Let a future whose producer died fail, for everybody."""
    if has_died(store, key):
        error = ProducerDiedError(repr(key), store.name, producer_of(store, key))
        try:
            write(store, key, failure(error))
        except KeyAlreadySetError:
            # It was not dead, or somebody else saw it first.
            return
        store.evict(begun_key(store, key))
