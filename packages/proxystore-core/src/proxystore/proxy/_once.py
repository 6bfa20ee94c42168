"""Runs the factory of a proxy once, however many threads use the proxy."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from proxystore.errors import ProxyReentryError, ProxyResolveError

__all__ = ["run_once"]

P = TypeVar("P")


class _Flight:
    """One run of one factory, for which other threads wait."""

    __slots__ = ("landed", "lock", "thread")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.thread: int | None = None
        self.landed = False


# By id of the proxy, which whoever is in the table keeps alive. The locks live
# here and not in the proxies, so that making a proxy costs no lock, and so
# that a forked child, in which nobody would release them, can drop them all.
_flights: dict[int, _Flight] = {}
os.register_at_fork(after_in_child=_flights.clear)


def run_once(
    proxy: P,
    factory: Callable[[], Any],  # Any: targets are of any type.
    is_resolved: Callable[[P], bool],
    accept: Callable[[P, Any], None],
) -> None:
    """Call ``accept(proxy, factory())`` unless it ``is_resolved``, in one thread at a time.

    Threads that come meanwhile wait. If the factory raises, the next one tries.

    Raises:
        ProxyReentryError: The factory came back here for the same proxy.
        ProxyResolveError: The factory raised an `Exception`; it is the cause.
    """
    while True:
        # setdefault is atomic, so all threads get the same flight.
        flight = _flights.setdefault(id(proxy), _Flight())
        if flight.thread == threading.get_ident():
            raise ProxyReentryError(
                f"The factory of a proxy ({_named(factory)}) used the proxy that it was called "
                f"for, which can never end. Let the factory work on other objects only."
            )
        with flight.lock:
            if flight.landed:
                # The run waited for is over, and perhaps failed: take part in the next.
                continue
            flight.thread = threading.get_ident()
            try:
                if not is_resolved(proxy):
                    accept(proxy, _call(factory))
            finally:
                flight.landed = True
                if _flights.get(id(proxy)) is flight:
                    del _flights[id(proxy)]
            return


def _call(factory: Callable[[], Any]) -> Any:
    try:
        return factory()
    except ProxyReentryError:
        raise
    except Exception as error:
        raise ProxyResolveError(
            f"The factory of a proxy ({_named(factory)}) raised "
            f"{type(error).__qualname__}: {error} "
            f"(The proxy stays unresolved; its next use calls the factory again.)",
            error,
        ) from error


def _named(factory: object) -> str:
    return str(getattr(factory, "__qualname__", type(factory).__qualname__))
