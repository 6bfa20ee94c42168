"""At most one load per key at a time, whose result everybody who asked gets."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from proxystore.host.forks import remake_in_child

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Flights"]

T = TypeVar("T")


class _AbandonedError(Exception):
    """Whoever led a flight was cancelled or interrupted; one who waits leads next."""


class _Flight(Generic[T]):
    """A load that is asked for, led by whoever claims it first.

    Args:
        thread: Identity of the thread that leads, if there is one already.
        waiting: Of the table. Held by those who wait, and by a leader that is not alone.
    """

    __slots__ = ("_future", "_outcome", "_waiting", "is_joined", "is_sealed", "thread")

    def __init__(self, thread: int | None, waiting: AbstractContextManager[bool]) -> None:
        self.thread, self._waiting = thread, waiting
        self.is_joined = self.is_sealed = False
        self._future: Future[T] | None = None
        self._outcome: tuple[T, None] | tuple[None, Exception] | None = None

    def claim(self) -> bool:
        """Whether the caller leads, which one caller is told."""
        with self._waiting:
            if self.thread is not None:
                return False
            self.thread = threading.get_ident()
            return True

    def future(self, *, joins: bool = True) -> Future[T]:
        """What those who do not lead wait for, in threads or event loops."""
        # Made only when somebody waits: it takes 2 us, and its module 10 ms to import.
        from concurrent.futures import Future

        with self._waiting:
            if self._future is None:
                self._future = Future()
                # A running future cannot be cancelled: one who gives up waiting
                # must not take the result from the others.
                self._future.set_running_or_notify_cancel()
            if joins and self.is_sealed and not self.is_joined:
                return _abandoned()
            self.is_joined |= joins
            if self._outcome is not None and not self._future.done():
                self._settle(self._future, *self._outcome)
            return self._future

    def seal(self) -> bool:
        """Let nobody join any more; whether somebody has."""
        with self._waiting:
            self.is_sealed = True
            return self.is_joined

    def land(self, result: T) -> None:
        """Give ``result`` to all who wait."""
        self._end((result, None))

    def fail(self, exc: BaseException) -> None:
        """Raise ``exc`` for all who wait, or hand over to one if only the leader is meant."""
        self._end((None, exc if isinstance(exc, Exception) else _AbandonedError()))

    def _end(self, outcome: tuple[T, None] | tuple[None, Exception]) -> None:
        # A leader that is interrupted may end a flight twice: the first end stands.
        if self._outcome is None:
            self._outcome = outcome
        # Without the lock: whoever comes to wait from here on sees the outcome.
        if self._future is not None:
            with self._waiting:
                if not self._future.done():
                    self._settle(self._future, *self._outcome)

    def _settle(self, future: Future[T], result: T | None, exc: Exception | None) -> None:
        if exc is not None:
            future.set_exception(exc)
        else:
            # A result may be None too, so only the error tells the two apart.
            future.set_result(cast("T", result))


def _abandoned() -> Future[Any]:
    from concurrent.futures import Future

    future: Future[Any] = Future()
    future.set_exception(_AbandonedError())
    return future


class Flights(Generic[T]):
    """Loads values, each key by one caller at a time, different keys in parallel.

    The first who asks for a key leads: it loads, while those who ask for the
    same key meanwhile wait, in threads and event loops alike. An `Exception`
    reaches everybody on the flight; if the leader is cancelled or interrupted,
    one of those who wait leads next. Nothing is kept once a flight has landed:
    an error has the frames that it passed, so these let go of the flight, which
    has the error; what they hold would stay until a garbage collection.

    Holds no lock while loading. A forked child starts without flights.
    """

    def __init__(self) -> None:
        self.remade_in_child()
        remake_in_child(self)

    def run(self, key: Hashable, load: Callable[[], T]) -> T:
        """The result of ``load``, called here unless somebody is at it already.

        Loads by itself what its own thread is loading already, where waiting
        would never end: a load that asks for its own key, and a call that
        blocks the event loop in which a coroutine leads.

        Raises:
            Exception: What the leader's ``load`` raised.
        """
        me = threading.get_ident()
        while True:
            flight = mine = self._new(me)
            try:
                flight = self._table.setdefault(key, mine)
                # Also one that waits for a free thread, of which there may be none
                # until the caller's own is.
                if flight is mine or flight.claim():
                    flight.is_joined = flight is not mine
                    result = load()
                    self._land(key, flight, result)
                    return result
            except BaseException as exc:
                # Also an interrupt before the load, after which nothing else would end it.
                if flight.thread == me:
                    self._fail(key, flight, exc)
                del flight, mine
                raise
            try:
                return load() if flight.thread == me else flight.future().result()
            except _AbandonedError:
                continue
            finally:
                del flight, mine

    def is_underway(self, key: Hashable) -> bool:
        """Whether somebody has begun to load ``key``, or is about to."""
        return key in self._table

    def seal(self, key: Hashable) -> bool:
        """Let nobody join the flight of ``key`` any more; for its leader, once it has begun.

        Returns:
            Whether somebody else gets the result too. Who comes later leads anew.
        """
        flight = self._table.get(key)
        if flight is None or flight.thread != threading.get_ident():
            # Another load of this thread has sealed it, or it was never in the table.
            return True
        self._forget(key, flight)
        return flight.seal()

    async def arun(self, key: Hashable, load: Callable[[], Awaitable[T]]) -> T:
        """As `run`, with a coroutine as the load."""
        import asyncio

        while True:
            flight = self._table.setdefault(key, self._new())
            try:
                if flight.claim():
                    return await self._alead(key, flight, load)
                return await asyncio.wrap_future(flight.future())
            except _AbandonedError:
                continue
            finally:
                del flight

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
            mine = self._new()
            flight = self._table.setdefault(key, mine)
            if flight is mine:
                submit(partial(self._lead_if_unclaimed, key, flight, load))
            try:
                return await asyncio.wrap_future(flight.future(joins=flight is not mine))
            except _AbandonedError:
                continue
            finally:
                del flight, mine

    def remade_in_child(self) -> None:
        """Forget the flights, whose leaders are threads of the parent."""
        # Changed only by setdefault and by leaders, each atomic: no lock.
        self._table: dict[Hashable, _Flight[T]] = {}
        # Reentrant: a garbage collection can run a finalizer that loads something in the
        # midst of anything here.
        self._waiting = threading.RLock()

    async def _alead(
        self, key: Hashable, flight: _Flight[T], load: Callable[[], Awaitable[T]]
    ) -> T:
        try:
            result = await load()
        except BaseException as exc:
            self._fail(key, flight, exc)
            del flight
            raise
        self._land(key, flight, result)
        return result

    def _lead_if_unclaimed(
        self, key: Hashable, flight: _Flight[T], load: Callable[[], T]
    ) -> None:
        if not flight.claim():
            return
        try:
            self._land(key, flight, load())
        except BaseException as exc:
            self._fail(key, flight, exc)
            del flight
            raise

    def _new(self, thread: int | None = None) -> _Flight[T]:
        return _Flight(thread, self._waiting)

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
