"""Many futures at once: callbacks, coroutines, `wait` and `as_completed`."""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION
from concurrent.futures import Future as OfThreads
from typing import Any

import pytest

from proxystore.abc import Capability
from proxystore.errors import StoreClosedError
from proxystore.store import Store
from proxystore.testing import MemoryConnector
from proxystore_patterns.errors import FuturesTimeoutError, ProducerRaisedError
from proxystore_patterns.futures import Future, as_completed, future, wait

TIMEOUT_S = 30

MakeStore = Callable[..., Store[Any]]


def _set_all(futures: list[Future[int]]) -> threading.Thread:
    def set_each() -> None:
        for number, each in enumerate(futures):
            each.set_result(number)

    thread = threading.Thread(target=set_each, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("medium", ["local", "shm", "file", "redis"])
def test_futures_come_as_they_are_done(make_store: MakeStore, medium: str) -> None:
    store = make_store(medium)
    futures = [future(store) for _ in range(5)]
    order = []
    setting = iter([3, 0, 4, 1, 2])
    futures[next(setting)].set_result(0)
    for done in as_completed(futures, TIMEOUT_S):
        order.append(futures.index(done))
        number = next(setting, None)
        if number is not None:
            futures[number].set_result(0)
    assert [3, 0, 4, 1, 2] == order


@pytest.mark.slow
@pytest.mark.parametrize(
    ("medium", "n"), [("local", 2000), ("shm", 2000), ("redis", 2000), ("file", 500)]
)
def test_thousands_wait_in_few_threads(make_store: MakeStore, medium: str, n: int) -> None:
    store = make_store(medium)
    futures = [future(store) for _ in range(n)]
    before = threading.active_count()
    waiting = as_completed(futures, TIMEOUT_S)
    setting = _set_all(futures)
    results, most = [], 0
    for done in waiting:
        most = max(most, threading.active_count())
        results.append(done.result(TIMEOUT_S))
    setting.join(TIMEOUT_S)
    assert list(range(n)) == sorted(results)
    assert most - before <= 4, "one sets, one watches, and one may hear what the medium tells"


def test_futures_of_several_stores_are_waited_for_together(make_store: MakeStore) -> None:
    futures = [future(make_store(medium)) for medium in ("local", "shm", "redis", "file")]
    _set_all(futures)
    assert {0, 1, 2, 3} == {each.result() for each in as_completed(futures, TIMEOUT_S)}


def test_a_future_that_is_there_twice_comes_once(make_store: MakeStore) -> None:
    made = future(make_store("local"))
    made.set_result(1)
    assert [made] == list(as_completed([made, made], TIMEOUT_S))
    assert [] == list(as_completed([], 0))


def test_what_is_not_done_in_time_is_counted(store: Store[Any]) -> None:
    done, never = future(store), future(store)
    done.set_result(1)
    waiting = as_completed([done, never], 0.2)
    assert done is next(waiting)
    with pytest.raises(FuturesTimeoutError, match=r"1 of 2 futures .* within 0\.2 s"):
        next(waiting)
    # Nobody is watched any more, so its thread ends.
    assert _ends("proxystore-futures")


def _ends(name: str) -> bool:
    deadline = time.monotonic() + TIMEOUT_S
    while any(thread.name == name for thread in threading.enumerate()):
        if time.monotonic() > deadline:
            return False
    return True


def test_a_wait_returns_when_it_was_told_to(make_store: MakeStore) -> None:
    store = make_store("local")
    done, failed, cancelled, never = (future(store) for _ in range(4))
    done.set_result(1)
    failed.set_exception(ValueError("no"))
    cancelled.cancel()
    assert {done, failed} == wait([done, failed], TIMEOUT_S, ALL_COMPLETED).done
    assert ({done}, {never}) == wait([done, never], TIMEOUT_S, FIRST_COMPLETED)
    assert ({failed}, {never}) == wait([failed, never], TIMEOUT_S, FIRST_EXCEPTION)
    assert ({done, cancelled}, {never}) == wait([done, cancelled, never], 0.05, FIRST_EXCEPTION)


def test_a_wait_for_what_never_comes_ends_in_time(make_store: MakeStore) -> None:
    done, never = future(make_store("local")), future(make_store("shm"))
    done.set_result(1)
    assert ({done}, {never}) == wait([done, never], 0.05)
    with pytest.raises(ValueError, match="FIRST_COMPLETED"):
        wait([done], 0, "SOMETIME")


@pytest.mark.parametrize("timeout", [float("inf"), 1e12])
def test_many_may_be_waited_for_without_end(make_store: MakeStore, timeout: float) -> None:
    made = future(make_store("local"))
    threading.Timer(0.02, made.set_result, (1,)).start()
    assert {made} == wait([made], timeout).done
    assert [made] == list(as_completed([made], timeout))


def test_what_is_no_future_is_not_waited_for(make_store: MakeStore) -> None:
    made = future(make_store("local"))
    wrong: list[Any] = [1, None, OfThreads(), made.proxy()]
    for found in wrong:
        for use in (wait, lambda futures: list(as_completed(futures))):
            with pytest.raises(TypeError, match="one was of type"):
                use([made, found])


def test_a_proxy_of_a_future_is_one(make_store: MakeStore) -> None:
    store = make_store("shm")
    made = future(store)
    made.set_result(1)
    sent: Any = pickle.loads(pickle.dumps(store.proxy(made)))
    assert [1] == [done.result() for done in as_completed([sent], TIMEOUT_S)]


class CountedConnector(MemoryConnector):
    """One that does not tell when objects come; counts how often it is asked."""

    n_looks = 0

    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities - {Capability.WAITABLE}

    def exists(self, key: Any) -> bool:
        self.n_looks += 1
        return super().exists(key)


@pytest.mark.slow
def test_those_who_wait_long_look_ever_more_rarely() -> None:
    waits: list[Callable[[Future[int]], object]] = [
        lambda made: made.exception(0.9),
        lambda made: str(made.proxy(timeout=0.9)),
        lambda made: list(as_completed([made], 0.9)),
    ]
    for waiting in waits:
        connector = CountedConnector()
        with Store("asked", connector) as store:
            with pytest.raises(TimeoutError):
                waiting(future(store))
        # 131 each second if each look for a dead producer began anew.
        assert 10 < connector.n_looks < 100


@pytest.mark.slow
def test_hundreds_of_threads_have_one_look_for_them() -> None:
    connector = CountedConnector()
    with Store("asked", connector) as store:
        made = future(store)
        threads = [threading.Thread(target=made.result, args=(TIMEOUT_S,)) for _ in range(300)]
        for thread in threads:
            thread.start()
        threading.Timer(1, made.set_result, (1,)).start()
        for thread in threads:
            thread.join(TIMEOUT_S)
        # Each twice, at its beginning and its end, and one of them meanwhile.
        assert connector.n_looks < 2 * 300 + 150


def test_callbacks_are_made_once_each(store: Store[Any]) -> None:
    made, calls, last = future(store), [], threading.Event()
    made.add_done_callback(calls.append)
    made.set_result(1)
    made.add_done_callback(calls.append)
    made.add_done_callback(lambda _: last.set())
    assert last.wait(TIMEOUT_S)
    assert [made, made] == calls


def test_a_callback_that_fails_is_logged(
    make_store: MakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    made, last = future(make_store("local")), threading.Event()
    made.add_done_callback(lambda _: 1 / 0)
    made.add_done_callback(lambda _: last.set())
    with caplog.at_level(logging.ERROR):
        made.set_result(1)
        assert last.wait(TIMEOUT_S)
    assert "ZeroDivisionError" in caplog.text


def test_futures_can_be_awaited(store: Store[Any]) -> None:
    async def main() -> list[int]:
        futures = [future(store) for _ in range(20)]
        setting = _set_all(futures)
        results = await asyncio.gather(*futures)
        setting.join(TIMEOUT_S)
        return results

    assert list(range(20)) == asyncio.run(asyncio.wait_for(main(), TIMEOUT_S))


def test_an_awaited_future_raises_what_its_producer_did(make_store: MakeStore) -> None:
    async def main(error: Exception) -> None:
        made = future(make_store("local"))
        threading.Timer(0.02, made.set_exception, (error,)).start()
        await made

    with pytest.raises(ValueError, match="no"):
        asyncio.run(asyncio.wait_for(main(ValueError("no")), TIMEOUT_S))
    # Of which an event loop never hears.
    with pytest.raises(ProducerRaisedError, match="StopIteration"):
        asyncio.run(asyncio.wait_for(main(StopIteration(1)), TIMEOUT_S))


def test_one_who_gives_up_awaiting_takes_nothing_from_others(make_store: MakeStore) -> None:
    async def main() -> int:
        made = future(make_store("shm"))
        other = asyncio.ensure_future(made)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(made, 0.05)
        made.set_result(5)
        return await other

    assert 5 == asyncio.run(asyncio.wait_for(main(), TIMEOUT_S))


@pytest.mark.slow
@pytest.mark.parametrize("medium", ["shm", "file", "redis"])
def test_of_thousands_that_wait_some_may_be_cancelled(make_store: MakeStore, medium: str) -> None:
    store = make_store(medium)
    futures = [future(store) for _ in range(1000)]

    async def main() -> list[int]:
        waits = [asyncio.ensure_future(each) for each in futures]
        # Some before they wait, and some while they do.
        for waiting in waits[::4]:
            waiting.cancel()
        await asyncio.sleep(0.2)
        for waiting in waits[1::4]:
            waiting.cancel()
        setting = _set_all(futures)
        results = await asyncio.gather(*waits, return_exceptions=True)
        setting.join(TIMEOUT_S)
        cancelled = [isinstance(result, asyncio.CancelledError) for result in results]
        assert [True, True, False, False] * 250 == cancelled
        return [result for result in results if isinstance(result, int)]

    kept = [number for number in range(1000) if number % 4 > 1]
    assert kept == asyncio.run(asyncio.wait_for(main(), TIMEOUT_S))
    assert _ends("proxystore-futures"), "nobody is watched any more"
    assert list(range(1000)) == [each.result() for each in futures]


def test_a_store_that_is_closed_ends_what_waits_for_it(store: Store[Any]) -> None:
    made, called = future(store), threading.Event()
    made.add_done_callback(lambda _: called.set())
    store.close()
    assert called.wait(TIMEOUT_S)
    with pytest.raises(StoreClosedError):
        # Here, where it was closed; elsewhere the medium is gone.
        store.wait(made.key)
