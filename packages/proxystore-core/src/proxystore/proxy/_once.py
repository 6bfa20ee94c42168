"""Runs the factory of a proxy once, however many threads use the proxy."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from proxystore.errors import ProxyReentryError, ProxyResolveError

__all__ = ["run_once"]

P = TypeVar("P")

# What the interpreter takes for an answer: no such attribute, no more items, no such operator.
_ANSWERS = (AttributeError, LookupError, StopIteration, StopAsyncIteration, TypeError)


class _Flight:
    """One run of one factory, for which other threads wait.

    Args:
        thread: Identity of the thread that makes it, which has the lock from the start.
    """

    __slots__ = ("error", "lock", "thread")

    def __init__(self, thread: int) -> None:
        self.thread: int | None = thread
        self.error: Exception | None = None
        self.lock = threading.Lock()
        self.lock.acquire()


# By id of the proxy, which whoever is in the table keeps alive. The locks live
# here and not in the proxies, so that making a proxy costs no lock, and so
# that a forked child, in which nobody would release them, can drop them all.
_flights: dict[int, _Flight] = {}
# By thread, the one it waits for.
_awaited: dict[int, _Flight] = {}


def _forget() -> None:
    _flights.clear()
    _awaited.clear()


os.register_at_fork(after_in_child=_forget)


def run_once(
    proxy: P,
    factory: Callable[[], Any],  # Any: targets are of any type.
    is_resolved: Callable[[P], bool],
    accept: Callable[[P, Any], None],
) -> None:
    """Call ``accept(proxy, factory())`` unless it ``is_resolved``, in one thread at a time.

    Threads that come meanwhile wait, and get the same error if the factory raises: of a
    medium that does not answer, each would wait for its timeout, one after the other. The
    next use tries again. If the thread that runs the factory is interrupted, another one does.

    Raises:
        ProxyReentryError: The factory came back here for the same proxy, or its thread would
            wait for one that waits for it.
        ProxyResolveError: The factory raised an `Exception`, which is the cause; or it raised a
            subclass of this error, which comes as it is.
        Exception: What a factory raised that passes its errors on.
    """
    me = threading.get_ident()
    while True:
        flight = mine = _Flight(me)
        try:
            # setdefault is atomic, so all threads get the same flight.
            flight = _flights.setdefault(id(proxy), mine)
            if flight is mine:
                if not is_resolved(proxy):
                    accept(proxy, _call(factory))
                return
        except Exception as error:
            mine.error = error
            # The traceback of the error has this frame: were the flight in it too, the proxy
            # would stay until a garbage collection.
            del flight
            raise
        finally:
            # Also after an interrupt, anywhere: nobody else would end the wait of the others.
            mine.thread = None
            if _flights.get(id(proxy)) is mine:
                del _flights[id(proxy)]
            mine.lock.release()
            del mine
        _wait_for(flight, me, factory)
        if is_resolved(proxy):
            return
        try:
            if flight.error is not None:
                raise flight.error
        finally:
            del flight


def _wait_for(flight: _Flight, me: int, factory: Callable[[], Any]) -> None:
    # Before the look: of threads that wait for each other in a circle, one sees it.
    _awaited[me] = flight
    try:
        if _waits_for(me, flight):
            raise ProxyReentryError(
                f"The factory of a proxy ({_named(factory)}) used the proxy that it was "
                f"called for, which can never end. Let the factory work on other objects "
                f"only; what those are made of counts too, in whichever thread."
            )
        with flight.lock:
            pass
    finally:
        _awaited.pop(me, None)


def _waits_for(thread: int, flight: _Flight | None) -> bool:
    """Whether ``flight`` is run by ``thread``, or by one that waits, and so on, for it."""
    while flight is not None and flight.thread is not None:
        if flight.thread == thread:
            return True
        flight = _awaited.get(flight.thread)
    return False


def _call(factory: Callable[[], Any]) -> Any:
    try:
        return factory()
    except Exception as error:
        if _passes(factory, error):
            raise
        raise ProxyResolveError(
            f"The factory of a proxy ({_named(factory)}) raised "
            f"{type(error).__qualname__}: {error} "
            f"(The proxy stays unresolved; its next use calls the factory again.)",
            error,
        ) from error


def _passes(factory: object, error: Exception) -> bool:
    """Whether ``error`` goes on as it is."""
    if isinstance(error, ProxyResolveError):
        # A kind of its own, which callers catch by its name.
        return type(error) is not ProxyResolveError
    return bool(getattr(factory, "passes_errors", False)) and not isinstance(error, _ANSWERS)


def _named(factory: object) -> str:
    return str(getattr(factory, "__qualname__", type(factory).__qualname__))
