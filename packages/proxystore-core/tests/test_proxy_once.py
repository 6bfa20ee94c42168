"""A factory runs once: under threads, across forks, and in the background."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from proxystore.factory import LambdaFactory
from proxystore.proxy import (
    Proxy,
    ProxyReentryError,
    ProxyResolveError,
    _answers,
    _once,
    _pure,
    extract,
    is_resolved,
    resolve,
    resolve_async,
)

N_THREADS = 8
TIMEOUT = 30.0

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")


def _in_threads(call: Callable[[], object]) -> list[object]:
    start = threading.Barrier(N_THREADS)

    def run(_: int) -> object:
        start.wait(TIMEOUT)
        return call()

    with ThreadPoolExecutor(N_THREADS) as pool:
        return list(pool.map(run, range(N_THREADS), timeout=TIMEOUT))


@pytest.mark.slow
def test_many_threads_run_the_factory_once(proxy_type: type[Proxy]) -> None:
    for _ in range(200):
        calls: list[object] = []

        def factory(calls: list[object] = calls) -> object:
            calls.append(object())
            os.sched_yield()
            return calls[-1]

        proxy = proxy_type(factory)
        found = _in_threads(lambda proxy=proxy: extract(proxy))
        assert calls * N_THREADS == found


@pytest.mark.slow
def test_after_a_failure_threads_still_take_turns(proxy_type: type[Proxy]) -> None:
    for _ in range(100):
        running: list[int] = []
        overlaps: list[int] = []
        attempts: list[int] = []

        def factory(
            running: list[int] = running,
            overlaps: list[int] = overlaps,
            attempts: list[int] = attempts,
        ) -> str:
            overlaps.extend(running)
            running.append(1)
            os.sched_yield()
            running.pop()
            attempts.append(1)
            if len(attempts) < N_THREADS // 2:
                raise ValueError
            return "target"

        proxy = proxy_type(factory)

        def use(proxy: Proxy[str] = proxy) -> object:
            while True:
                with suppress(ProxyResolveError):
                    return extract(proxy)

        found = _in_threads(use)
        assert overlaps == []
        assert len(attempts) == N_THREADS // 2
        assert found == ["target"] * N_THREADS


def test_a_failure_keeps_nothing_until_a_garbage_collection(proxy_type: type[Proxy]) -> None:
    class Factory:
        def __call__(self) -> str:
            raise TimeoutError("no answer")

    factory = Factory()
    is_kept = weakref.ref(factory)
    proxy = proxy_type(factory)
    gc.disable()
    try:
        with suppress(ProxyResolveError):
            extract(proxy)
        del factory, proxy
        assert is_kept() is None
    finally:
        gc.enable()


def test_who_waits_for_a_run_that_fails_gets_its_error(proxy_type: type[Proxy]) -> None:
    entered, proceed = threading.Event(), threading.Event()
    calls: list[int] = []

    def factory() -> str:
        calls.append(1)
        entered.set()
        assert proceed.wait(TIMEOUT)
        raise TimeoutError("no answer")

    proxy = proxy_type(factory)
    with ThreadPoolExecutor(4) as pool:
        uses = [pool.submit(extract, proxy)]
        assert entered.wait(TIMEOUT)
        uses += [pool.submit(extract, proxy) for _ in range(3)]
        while len(_once._awaited) < 3:
            os.sched_yield()
        proceed.set()
        errors = [use.exception(TIMEOUT) for use in uses]
    assert [type(error.cause) for error in errors] == [TimeoutError] * 4
    assert calls == [1]
    with pytest.raises(ProxyResolveError):
        extract(proxy)
    assert calls == [1, 1]


def test_another_thread_waits_for_the_one_that_resolves(proxy_type: type[Proxy]) -> None:
    entered, proceed = threading.Event(), threading.Event()

    def factory() -> str:
        entered.set()
        assert proceed.wait(TIMEOUT)
        return "target"

    proxy = proxy_type(factory)
    future = resolve_async(proxy)
    assert entered.wait(TIMEOUT)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(extract, proxy)
        assert not other.done()
        assert not is_resolved(proxy)
        proceed.set()
        assert other.result(TIMEOUT) == "target"
    assert future.result(TIMEOUT) == "target"


def test_threads_whose_factories_use_the_proxies_of_each_other_do_not_wait_for_ever(
    proxy_type: type[Proxy],
) -> None:
    started = [threading.Event() for _ in range(3)]
    proxies: list[Proxy[Any]] = []

    def factory(number: int) -> object:
        started[number].set()
        assert all(event.wait(TIMEOUT) for event in started)
        return extract(proxies[(number + 1) % 3])

    proxies.extend(proxy_type(LambdaFactory(factory, number)) for number in range(3))
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(extract, proxy) for proxy in proxies]
        errors = [future.exception(TIMEOUT) for future in futures]
    assert {ProxyReentryError} == {type(error) for error in errors}
    assert not any(is_resolved(proxy) for proxy in proxies)


def test_who_waits_for_a_run_that_is_over_waits_for_no_thread(proxy_type: type[Proxy]) -> None:
    # Or its thread, which goes on, would be told that it waits for itself.
    runs: list[Any] = []
    proxy = proxy_type(lambda: runs.extend(_once._flights.values()))
    resolve(proxy)
    assert [run.thread for run in runs] == [None]


def test_a_factory_may_use_other_proxies(proxy_type: type[Proxy]) -> None:
    inner = proxy_type(lambda: [1])
    assert len(proxy_type(lambda: inner + inner)) == 2


@needs_fork
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_forked_in_the_middle_of_a_resolve_starts_again(proxy_type: type[Proxy]) -> None:
    entered, proceed = threading.Event(), threading.Event()
    parent = os.getpid()

    def factory() -> int:
        if os.getpid() == parent:
            entered.set()
            assert proceed.wait(TIMEOUT)
        return os.getpid()

    proxy = proxy_type(factory)
    future = resolve_async(proxy)
    assert entered.wait(TIMEOUT)
    # All 16 background threads run now, so that the child must start its own.
    barrier = threading.Barrier(15)
    for other in [resolve_async(proxy_type(lambda: barrier.wait(TIMEOUT))) for _ in range(15)]:
        other.result(TIMEOUT)

    def child() -> None:
        ok = extract(proxy) == os.getpid()
        again = proxy_type(lambda: "new")
        ok = ok and resolve_async(again).result(TIMEOUT) == "new"
        os._exit(0 if ok else 1)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    try:
        process.join(TIMEOUT)
        assert process.exitcode == 0
    finally:
        process.kill()
        proceed.set()
    assert future.result(TIMEOUT) == parent


@needs_fork
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_factory_that_forks_can_use_the_proxy_in_the_child(proxy_type: type[Proxy]) -> None:
    parent = os.getpid()

    def factory() -> int:
        if os.getpid() != parent:
            return 0
        pid = os.fork()
        if pid == 0:
            os._exit(extract(proxy))
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    proxy = proxy_type(factory)
    assert extract(proxy) == 0


def test_resolving_in_the_background_gives_a_future_of_the_target(
    proxy_type: type[Proxy],
) -> None:
    proxy = proxy_type(lambda: "target")
    assert resolve_async(proxy).result(TIMEOUT) == "target"
    assert is_resolved(proxy)


def test_the_future_of_a_resolved_proxy_is_done(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(list)
    resolve(proxy)
    assert resolve_async(proxy).done()


def test_a_failure_in_the_background_is_in_the_future(proxy_type: type[Proxy]) -> None:
    def factory() -> None:
        raise ValueError("no luck")

    with pytest.raises(ProxyResolveError, match="no luck"):
        resolve_async(proxy_type(factory)).result(TIMEOUT)


def test_a_coroutine_can_wait_for_the_background(proxy_type: type[Proxy]) -> None:
    async def main() -> object:
        return await asyncio.wrap_future(resolve_async(proxy_type(lambda: 3)))

    assert asyncio.run(main()) == 3


@pytest.mark.slow
def test_more_proxies_than_threads_all_resolve(proxy_type: type[Proxy]) -> None:
    futures = [resolve_async(proxy_type(lambda i=i: i)) for i in range(200)]
    assert [future.result(TIMEOUT) for future in futures] == list(range(200))


@pytest.mark.slow
def test_a_factory_that_never_ends_does_not_keep_the_interpreter() -> None:
    code = """
import threading
from proxystore.proxy import Proxy, resolve_async
entered = threading.Event()
def factory():
    entered.set()
    threading.Event().wait()
resolve_async(Proxy(factory))
entered.wait()
"""
    subprocess.run([sys.executable, "-c", code], timeout=TIMEOUT, check=True)


def test_a_proxy_that_is_made_unresolved_during_a_use_resolves_again(
    proxy_type: type[Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def factory() -> str:
        calls.append(1)
        return "target"

    def interrupted(proxy: Proxy[str], *rest: Any) -> None:
        _once.run_once(proxy, *rest)
        if len(calls) == 1:
            # As another thread may, just here.
            del proxy.__proxy_wrapped__

    monkeypatch.setattr(_answers, "run_once", interrupted)
    monkeypatch.setattr(_pure, "run_once", interrupted)
    assert extract(proxy_type(factory)) == "target"
    assert len(calls) == 2
