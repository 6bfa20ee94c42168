"""`Flights`: one load per key at a time, whoever asks, from wherever."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from proxystore.store._flight import Flights

TIMEOUT_S = 20


class Key:
    """Tells how many callers have met the flight of an equal key."""

    def __init__(self, met: threading.Semaphore) -> None:
        self.met = met

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        self.met.release()
        return True


class Load:
    """A load that ends once ``n_waiting`` others wait for it, and counts its calls."""

    def __init__(self, n_waiting: int, outcome: Callable[[], Any] = lambda: "loaded") -> None:
        self.met = threading.Semaphore(0)
        self.started = threading.Event()
        self.calls = 0
        self._n_waiting, self._outcome = n_waiting, outcome

    def key(self) -> Key:
        return Key(self.met)

    def __call__(self) -> Any:
        self.calls += 1
        self.started.set()
        for _ in range(self._n_waiting):
            assert self.met.acquire(timeout=TIMEOUT_S)
        return self._outcome()


def ask(flights: Flights[Any], load: Load, times: int, pool: ThreadPoolExecutor) -> list[Future]:
    """The futures of ``times`` threads, of which the first leads."""
    first = pool.submit(flights.run, load.key(), load)
    assert load.started.wait(TIMEOUT_S)
    return [first, *(pool.submit(flights.run, load.key(), load) for _ in range(times - 1))]


def test_threads_that_ask_at_once_share_one_load() -> None:
    flights: Flights[str] = Flights()
    load = Load(n_waiting=7)
    with ThreadPoolExecutor(8) as pool:
        results = [future.result(TIMEOUT_S) for future in ask(flights, load, 8, pool)]
    assert (results, load.calls) == (["loaded"] * 8, 1)


def test_different_keys_load_at_the_same_time() -> None:
    flights: Flights[int] = Flights()
    together = threading.Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(flights.run, key, lambda: together.wait(TIMEOUT_S)) for key in "abcd"]
        assert sorted(load.result(TIMEOUT_S) for load in loads) == [0, 1, 2, 3]


def test_a_load_that_has_ended_is_not_kept() -> None:
    flights: Flights[int] = Flights()
    values = iter([1, 2])
    assert [flights.run("key", lambda: next(values)) for _ in range(2)] == [1, 2]


def test_an_error_of_the_leader_reaches_all_who_wait() -> None:
    def fail() -> None:
        raise OSError("no medium")

    flights: Flights[None] = Flights()
    load = Load(3, fail)
    with ThreadPoolExecutor(4) as pool:
        futures = ask(flights, load, 4, pool)
        errors = [future.exception(TIMEOUT_S) for future in futures]
    assert [str(error) for error in errors] == ["no medium"] * 4
    assert load.calls == 1


def test_when_the_leader_is_interrupted_one_who_waits_leads() -> None:
    outcomes = iter([KeyboardInterrupt(), "second"])

    def outcome() -> str:
        value = next(outcomes)
        if isinstance(value, BaseException):
            raise value
        return value

    flights: Flights[str] = Flights()
    load = Load(1, outcome)
    with ThreadPoolExecutor(2) as pool:
        first, second = ask(flights, load, 2, pool)
        assert isinstance(first.exception(TIMEOUT_S), KeyboardInterrupt)
        load.met.release()
        assert second.result(TIMEOUT_S) == "second"


def test_a_load_may_ask_for_its_own_key() -> None:
    flights: Flights[str] = Flights()
    assert flights.run("key", lambda: flights.run("key", lambda: "inner") + "!") == "inner!"


def test_coroutines_and_threads_share_one_load() -> None:
    flights: Flights[str] = Flights()
    load = Load(n_waiting=2)

    async def main() -> list[str]:
        with ThreadPoolExecutor(3) as pool:
            leader = pool.submit(flights.run, load.key(), load)
            assert load.started.wait(TIMEOUT_S)
            follower = pool.submit(flights.run, load.key(), load)

            async def never() -> str:
                raise AssertionError("a second load")

            mine = await flights.arun(load.key(), never)
            return [mine, leader.result(TIMEOUT_S), follower.result(TIMEOUT_S)]

    assert asyncio.run(main()) == ["loaded"] * 3
    assert load.calls == 1


def test_coroutines_of_two_event_loops_share_one_load() -> None:
    flights: Flights[str] = Flights()
    load = Load(n_waiting=1)

    def in_a_loop(pool: ThreadPoolExecutor) -> str:
        return asyncio.run(flights.arun_elsewhere(load.key(), load, pool.submit))

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(in_a_loop, pool)
        assert load.started.wait(TIMEOUT_S)
        second = pool.submit(in_a_loop, pool)
        assert [first.result(TIMEOUT_S), second.result(TIMEOUT_S)] == ["loaded"] * 2
    assert load.calls == 1


def test_when_a_leading_coroutine_is_cancelled_a_waiting_one_leads() -> None:
    async def main() -> tuple[str, bool]:
        flights: Flights[str] = Flights()
        started = asyncio.Event()

        async def forever() -> str:
            started.set()
            await asyncio.Event().wait()
            return "never"

        async def quick() -> str:
            return "second"

        leader = asyncio.create_task(flights.arun("key", forever))
        await started.wait()
        follower = asyncio.create_task(flights.arun("key", quick))
        await asyncio.sleep(0)
        leader.cancel()
        return await asyncio.wait_for(follower, TIMEOUT_S), leader.cancelled()

    assert asyncio.run(main()) == ("second", True)


def test_cancelling_one_who_waits_takes_nothing_from_the_others() -> None:
    flights: Flights[str] = Flights()
    load = Load(n_waiting=3)

    async def main() -> str:
        with ThreadPoolExecutor(1) as pool:
            leader = pool.submit(flights.run, load.key(), load)
            assert load.started.wait(TIMEOUT_S)
            impatient, patient = (
                asyncio.create_task(flights.arun_elsewhere(load.key(), load, pool.submit))
                for _ in range(2)
            )
            await asyncio.sleep(0)  # Both wait now.
            impatient.cancel()
            await asyncio.wait([impatient])
            load.met.release()
            return await patient + leader.result(TIMEOUT_S)

    assert asyncio.run(main()) == "loadedloaded"


def test_a_thread_takes_over_a_load_that_waits_for_a_free_thread() -> None:
    flights: Flights[str] = Flights()
    queued: list[Callable[[], None]] = []

    async def main() -> tuple[str, str]:
        waiting = asyncio.create_task(
            flights.arun_elsewhere("key", lambda: "in the queue", queued.append)
        )
        await asyncio.sleep(0)
        taken = await asyncio.to_thread(flights.run, "key", lambda: "here")
        queued[0]()
        return taken, await waiting

    assert asyncio.run(main()) == ("here", "here")


def test_a_call_that_blocks_the_loop_of_a_leading_coroutine_loads_itself() -> None:
    flights: Flights[str] = Flights()

    async def main() -> tuple[str, str]:
        release = asyncio.Event()

        async def slow() -> str:
            await release.wait()
            return "coroutine"

        leader = asyncio.create_task(flights.arun("key", slow))
        await asyncio.sleep(0)
        blocking = flights.run("key", lambda: "blocking")
        release.set()
        return blocking, await leader

    assert asyncio.run(main()) == ("blocking", "coroutine")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_wait_for_flights_of_its_parent() -> None:
    flights: Flights[str] = Flights()
    load = Load(n_waiting=1)
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(flights.run, load.key(), load)
        assert load.started.wait(TIMEOUT_S)
        pid = os.fork()
        if pid == 0:
            signal.alarm(TIMEOUT_S)
            os._exit(0 if flights.run(load.key(), lambda: "child") == "child" else 1)
        load.met.release()
        assert leader.result(TIMEOUT_S) == "loaded"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_leader_learns_whether_others_joined_and_that_nobody_will() -> None:
    flights: Flights[bool] = Flights()
    assert flights.run("alone", lambda: flights.seal("alone")) is False
    started = threading.Event()

    def joined() -> bool:
        (flight,) = flights._table.values()
        started.set()
        while not flight.is_joined:
            os.sched_yield()
        return flights.seal("joined")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(flights.run, "joined", joined)
        assert started.wait(TIMEOUT_S)
        second = pool.submit(flights.run, "joined", joined)
        assert [first.result(TIMEOUT_S), second.result(TIMEOUT_S)] == [True, True]


def test_who_comes_after_the_seal_loads_anew() -> None:
    flights: Flights[str] = Flights()

    def sealed() -> str:
        flights.seal("key")
        with ThreadPoolExecutor(1) as pool:
            late = pool.submit(flights.run, "key", lambda: "late")
            return f"first, before {late.result(TIMEOUT_S)}"

    assert flights.run("key", sealed) == "first, before late"


def test_an_interrupt_between_claim_and_load_keeps_nobody_waiting() -> None:
    flights: Flights[int] = Flights()

    # Any: a trace function gives the one for the lines of a frame.
    def interrupt(frame: FrameType, _event: str, _argument: object) -> Any:
        if flights._table:
            raise KeyboardInterrupt
        return interrupt if frame.f_code.co_name == "run" else None

    before = sys.gettrace()
    sys.settrace(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            flights.run("key", lambda: 1)
    finally:
        sys.settrace(before)
    results: list[int] = []
    thread = threading.Thread(
        target=lambda: results.append(flights.run("key", lambda: 2)), daemon=True
    )
    thread.start()
    thread.join(10)
    assert results == [2]


class Needed:
    """Something that a load holds."""


async def _lead(flights: Flights[Any], load: Callable[[], Any]) -> None:
    async def aload() -> Any:
        return load()

    # In here: `asyncio.run` keeps what it raises itself.
    with contextlib.suppress(TimeoutError):
        await flights.arun("key", aload)


async def _lead_elsewhere(flights: Flights[Any], load: Callable[[], Any]) -> None:
    with ThreadPoolExecutor(1) as pool, contextlib.suppress(TimeoutError):
        await flights.arun_elsewhere("key", load, pool.submit)


@pytest.mark.parametrize(
    "run",
    [
        lambda flights, load: flights.run("key", load),
        lambda flights, load: asyncio.run(_lead(flights, load)),
        lambda flights, load: asyncio.run(_lead_elsewhere(flights, load)),
    ],
    ids=["here", "coroutine", "elsewhere"],
)
def test_a_failure_keeps_nothing_until_a_garbage_collection(run: Callable[..., None]) -> None:
    needed = Needed()
    is_kept = weakref.ref(needed)

    def load(needed: Needed = needed) -> None:
        raise TimeoutError(needed)

    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(TimeoutError):
            run(Flights(), load)
        del needed, load
        assert is_kept() is None
    finally:
        gc.enable()
