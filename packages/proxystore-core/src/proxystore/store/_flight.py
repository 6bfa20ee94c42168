"""At most one load per key at a time, whose result everybody who asked gets."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from proxystore.host.forks import remake_in_child

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Flights"]

T = TypeVar("T")


class _AbandonedError(Exception):
    """Whoever led a flight was cancelled or interrupted; one who waits leads next."""


class _Flight(Generic[T]):
    """A load that is asked for, led by whoever claims it first."""

    __slots__ = ("_future", "_lock", "_outcome", "thread")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._future: Future[T] | None = None
        self._outcome: tuple[T, None] | tuple[None, Exception] | None = None
        self.thread: int | None = None
        """Identity of the thread that leads, if there is one."""

    def claim(self) -> bool:
        """Whether the caller leads, which one caller is told."""
        with self._lock:
            if self.thread is not None:
                return False
            self.thread = threading.get_ident()
            return True

    def future(self) -> Future[T]:
        """What those who do not lead wait for, in threads or event loops."""
        # Made only when somebody waits: it takes 2 us, and its module 10 ms to import.
        from concurrent.futures import Future

        with self._lock:
            if self._future is None:
                self._future = Future()
                # A running future cannot be cancelled: one who gives up waiting
                # must not take the result from the others.
                self._future.set_running_or_notify_cancel()
                self._settle(self._future)
            return self._future

    def land(self, result: T) -> None:
        """Give ``result`` to all who wait."""
        self._end((result, None))

    def fail(self, exc: BaseException) -> None:
        """Raise ``exc`` for all who wait, or hand over to one if only the leader is meant."""
        self._end((None, exc if isinstance(exc, Exception) else _AbandonedError()))

    def _end(self, outcome: tuple[T, None] | tuple[None, Exception]) -> None:
        with self._lock:
            # A leader that is interrupted may end a flight twice: the first end stands.
            if self._outcome is None:
                self._outcome = outcome
            if self._future is not None and not self._future.done():
                self._settle(self._future)

    def _settle(self, future: Future[T]) -> None:
        if self._outcome is None:
            return
        result, exc = self._outcome
        if exc is not None:
            future.set_exception(exc)
        else:
            # A result may be None too, so only the error tells the two apart.
            future.set_result(cast("T", result))


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
            try:
                if flight.claim():
                    return self._lead(key, flight, load)
            except KeyboardInterrupt as exc:
                # Between the claim and the load, where nothing else would end the flight.
                if flight.thread == threading.get_ident():
                    self._fail(key, flight, exc)
                raise
            if flight.thread == threading.get_ident():
                return load()
            try:
                return flight.future().result()
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
                return await asyncio.wrap_future(flight.future())
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
                return await asyncio.wrap_future(flight.future())
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
        flight.land(result)

    def _fail(self, key: Hashable, flight: _Flight[T], exc: BaseException) -> None:
        self._forget(key, flight)
        flight.fail(exc)

    def _forget(self, key: Hashable, flight: _Flight[T]) -> None:
        # Before it lands: who waits for an abandoned flight must not meet it again.
        if self._table.get(key) is flight:
            del self._table[key]
