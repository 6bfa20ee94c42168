"""At most one load per key at a time, whose result everybody who asked gets."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import Future
from functools import partial
from typing import Generic, TypeVar

from proxystore.store._forked import remake_in_child

__all__ = ["Flights"]

T = TypeVar("T")


class _AbandonedError(Exception):
    """Whoever led a flight was cancelled or interrupted; the next in line leads."""


class _Flight(Future[T]):
    """A load under way.

    Args:
        thread: Identity of the thread that loads, if it is known already.
    """

    def __init__(self, thread: int | None = None) -> None:
        super().__init__()
        self.thread = thread
        # A running future cannot be cancelled: one waiter that gives up must
        # not take the result from the others (asyncio.wrap_future would).
        self.set_running_or_notify_cancel()

    def fail(self, exc: BaseException) -> None:
        """Land with ``exc``, or hand over to a waiter if it concerns only the leader."""
        if not self.done():
            self.set_exception(exc if isinstance(exc, Exception) else _AbandonedError())


class Flights(Generic[T]):
    """Loads values, each key by one caller at a time, different keys in parallel.

    The first who asks for a key leads: it loads, while those who ask for the
    same key meanwhile wait, in threads and event loops alike. An `Exception`
    reaches everybody on the flight; if the leader is cancelled or interrupted,
    one of those who wait leads next. Nothing is kept once a flight has landed.

    Holds no lock while loading. A forked child starts without flights.
    """

    def __init__(self) -> None:
        # Only setdefault and pop by the leader touch it, each atomic: no lock,
        # so none that a fork could leave locked.
        self._table: dict[Hashable, _Flight[T]] = {}
        remake_in_child(self)

    def run(self, key: Hashable, load: Callable[[], T]) -> T:
        """The result of ``load``, called here unless somebody is at it already.

        A load that asks for its own key again, and a synchronous call on the
        thread of an event loop that leads, load by themselves: waiting could
        never end.

        Raises:
            Exception: What the leader's ``load`` raised.
        """
        while True:
            mine: _Flight[T] = _Flight(threading.get_ident())
            try:
                flight = self._table.setdefault(key, mine)
                if flight is mine:
                    mine.set_result(load())
                    return mine.result()
            except BaseException as exc:
                mine.fail(exc)
                raise
            finally:
                self._land(key, mine)
            if flight.thread == mine.thread:
                return load()
            try:
                return flight.result()
            except _AbandonedError:
                continue

    async def arun(self, key: Hashable, load: Callable[[], Awaitable[T]]) -> T:
        """As `run`, with a coroutine as the load."""
        import asyncio

        while True:
            mine: _Flight[T] = _Flight(threading.get_ident())
            try:
                flight = self._table.setdefault(key, mine)
                if flight is mine:
                    mine.set_result(await load())
                    return mine.result()
            except BaseException as exc:
                mine.fail(exc)
                raise
            finally:
                self._land(key, mine)
            try:
                return await asyncio.wrap_future(flight)
            except _AbandonedError:
                continue

    async def arun_elsewhere(
        self,
        key: Hashable,
        load: Callable[[], T],
        submit: Callable[[Callable[[], None]], object],
    ) -> T:
        """As `run`, with the load on another thread, where ``submit`` starts it.

        Cancelling the caller does not stop the load; others may wait for it.
        """
        import asyncio

        while True:
            mine: _Flight[T] = _Flight()
            flight = self._table.setdefault(key, mine)
            if flight is mine:
                submit(partial(self._lead, key, mine, load))
            try:
                return await asyncio.wrap_future(flight)
            except _AbandonedError:
                continue

    def remade_in_child(self) -> None:
        """Forget the flights, whose leaders are threads of the parent."""
        self._table = {}

    def _lead(self, key: Hashable, flight: _Flight[T], load: Callable[[], T]) -> None:
        flight.thread = threading.get_ident()
        try:
            flight.set_result(load())
        except BaseException as exc:  # noqa: BLE001 - it reaches whoever waits for the flight
            flight.fail(exc)
        finally:
            self._land(key, flight)

    def _land(self, key: Hashable, flight: _Flight[T]) -> None:
        if self._table.get(key) is flight:
            del self._table[key]
