"""At most one load per key at a time, whose result everybody who asked gets."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import Future
from functools import partial
from typing import Generic, TypeVar

from proxystore._internal.forks import remake_in_child

__all__ = ["Flights"]

T = TypeVar("T")


class _AbandonedError(Exception):
    """Whoever led a flight was cancelled or interrupted; one who waits leads next."""


class _Flight(Future[T]):
    """A load that is asked for, led by whoever claims it first."""

    def __init__(self) -> None:
        super().__init__()
        self._unclaimed = threading.Lock()
        self.thread: int | None = None
        """Identity of the thread that leads."""
        # A running future cannot be cancelled: one who gives up waiting must not
        # take the result from the others (asyncio.wrap_future would).
        self.set_running_or_notify_cancel()

    def claim(self) -> bool:
        """Whether the caller leads, which one caller is told."""
        if not self._unclaimed.acquire(blocking=False):
            return False
        self.thread = threading.get_ident()
        return True


class Flights(Generic[T]):
    """Loads values, each key by one caller at a time, different keys in parallel.

    The first who asks for a key leads: it loads, while those who ask for the
    same key meanwhile wait, in threads and event loops alike. An `Exception`
    reaches everybody on the flight; if the leader is cancelled or interrupted,
    one of those who wait leads next. Nothing is kept once a flight has landed.

    Holds no lock while loading. A forked child starts without flights.
    """

    def __init__(self) -> None:
        # Changed only by setdefault and by leaders, each atomic: no lock, so
        # none that a fork could leave locked.
        self._table: dict[Hashable, _Flight[T]] = {}
        remake_in_child(self)

    def run(self, key: Hashable, load: Callable[[], T]) -> T:
        """The result of ``load``, called here unless somebody is at it already.

        Loads by itself what its own thread is loading already, where waiting
        would never end: a load that asks for its own key, and a call that
        blocks the event loop in which a coroutine leads.

        Raises:
            Exception: What the leader's ``load`` raised.
        """
        while True:
            flight = self._table.setdefault(key, _Flight())
            # Also one that waits for a free thread, of which there may be none
            # until the caller's own is.
            if flight.claim():
                return self._lead(key, flight, load)
            if flight.thread == threading.get_ident():
                return load()
            try:
                return flight.result()
            except _AbandonedError:
                continue

    async def arun(self, key: Hashable, load: Callable[[], Awaitable[T]]) -> T:
        """As `run`, with a coroutine as the load."""
        import asyncio

        while True:
            flight = self._table.setdefault(key, _Flight())
            if flight.claim():
                return await self._alead(key, flight, load)
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
        """As `run`, with the load on another thread, where ``submit`` has it called.

        Cancelling the caller does not stop the load; others may wait for it.
        """
        import asyncio

        while True:
            mine: _Flight[T] = _Flight()
            flight = self._table.setdefault(key, mine)
            if flight is mine:
                submit(partial(self._lead_if_unclaimed, key, flight, load))
            try:
                return await asyncio.wrap_future(flight)
            except _AbandonedError:
                continue

    def remade_in_child(self) -> None:
        """Forget the flights, whose leaders are threads of the parent."""
        self._table = {}

    def _lead(self, key: Hashable, flight: _Flight[T], load: Callable[[], T]) -> T:
        try:
            result = load()
        except BaseException as exc:
            self._fail(key, flight, exc)
            raise
        self._land(key, flight, result)
        return result

    async def _alead(
        self, key: Hashable, flight: _Flight[T], load: Callable[[], Awaitable[T]]
    ) -> T:
        try:
            result = await load()
        except BaseException as exc:
            self._fail(key, flight, exc)
            raise
        self._land(key, flight, result)
        return result

    def _lead_if_unclaimed(
        self, key: Hashable, flight: _Flight[T], load: Callable[[], T]
    ) -> None:
        if flight.claim():
            self._lead(key, flight, load)

    def _land(self, key: Hashable, flight: _Flight[T], result: T) -> None:
        self._forget(key, flight)
        flight.set_result(result)

    def _fail(self, key: Hashable, flight: _Flight[T], exc: BaseException) -> None:
        self._forget(key, flight)
        flight.set_exception(exc if isinstance(exc, Exception) else _AbandonedError())

    def _forget(self, key: Hashable, flight: _Flight[T]) -> None:
        # Before it lands: who waits for an abandoned flight must not meet it again.
        if self._table.get(key) is flight:
            del self._table[key]
