"""`wait` and `as_completed` of `concurrent.futures`, for futures of stores."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION
from typing import Any, NamedTuple, TypeVar

from proxystore.proxy import Proxy, get_factory
from proxystore_patterns.errors import FutureCancelledError, FuturesTimeoutError
from proxystore_patterns.futures._factory import FutureFactory
from proxystore_patterns.futures._future import Future
from proxystore_patterns.futures._waits import Deadline
from proxystore_patterns.futures._watching import Watch

__all__ = ["DoneAndNotDone", "as_completed", "wait"]

T = TypeVar("T")


# Any in this module: futures of different types may be waited for together.
class DoneAndNotDone(NamedTuple):
    """Which futures were done when a wait ended, and which were not."""

    done: set[Future[Any]]
    not_done: set[Future[Any]]


def as_completed(futures: Iterable[Future[T]], timeout: float | None = None) -> Iterator[Future[T]]:
    """Each future once it is done, in the order in which they are.

    One thread watches all futures of a store, however many there are. Nothing but
    whether they are done is asked of the store; results stay there.

    Args:
        futures: Of any stores. One that is there twice comes once.
        timeout: Seconds for all of them; `None`: for ever.

    Raises:
        FuturesTimeoutError: Some were not done in time.
        TypeError: Something in ``futures`` is no `Future`, or ``timeout`` no number.
        ValueError: ``timeout`` is not a number (NaN).
    """
    deadline = Deadline(timeout)
    pending = dict.fromkeys(map(_require_future, futures))
    n_all = len(pending)
    done: queue.SimpleQueue[Future[T]] = queue.SimpleQueue()
    watches = [_watch(future, done) for future in pending]
    try:
        while pending:
            try:
                future = done.get(timeout=deadline.left())
            except queue.Empty:
                raise FuturesTimeoutError(len(pending), n_all, deadline.timeout) from None
            del pending[future]
            yield future
    finally:
        for watch in watches:
            watch.cancel()


def _require_future(found: Future[T]) -> Future[T]:
    # First: to ask a proxy of a result what it is would wait for that result.
    is_result = issubclass(type(found), Proxy) and isinstance(get_factory(found), FutureFactory)
    if is_result or not isinstance(found, Future):
        raise TypeError(
            f"Futures of proxystore_patterns are waited for here, and one was of type "
            f"{type(found).__module__}.{type(found).__qualname__}. Pass the future itself for a "
            f"proxy of its result; those of concurrent.futures have a wait() of their own."
        )
    return found


def _watch(future: Future[T], done: queue.SimpleQueue[Future[T]]) -> Watch:
    return future._watch(lambda: done.put(future))


def wait(
    futures: Iterable[Future[Any]],
    timeout: float | None = None,
    return_when: str = ALL_COMPLETED,
) -> DoneAndNotDone:
    """Block until futures are done, or ``timeout`` is over.

    With a choice that ends the wait early, others may be done beside those that are given as such.

    Args:
        futures: Of any stores.
        timeout: Seconds; `None`: for ever.
        return_when: `FIRST_COMPLETED`, `FIRST_EXCEPTION` (which reads the outcomes) or
            `ALL_COMPLETED`, of `concurrent.futures`.

    Raises:
        TypeError: Something in ``futures`` is no `Future`, or ``timeout`` no number.
        ValueError: ``return_when`` is something else, or ``timeout`` not a number (NaN).
    """
    choices = (FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED)
    if return_when not in choices:
        raise ValueError(f"return_when is one of {', '.join(choices)}, not {return_when!r}.")
    not_done, done = set(map(_require_future, futures)), set[Future[Any]]()
    try:
        for future in as_completed(set(not_done), timeout):
            not_done.remove(future)
            done.add(future)
            if return_when == FIRST_COMPLETED or _has_failed(future, return_when):
                break
    except FuturesTimeoutError:
        pass
    return DoneAndNotDone(done, not_done)


def _has_failed(future: Future[Any], return_when: str) -> bool:
    """Whether a wait for the first exception ends with ``future``, which is done."""
    if return_when != FIRST_EXCEPTION:
        return False
    error = future.exception()
    return error is not None and not isinstance(error, FutureCancelledError)
