"""`prefetch`: many proxies resolved before they are used."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector, LocalKey
from proxystore.errors import (
    ConnectorUnavailableError,
    ObjectNotFoundError,
    ProxyResolveError,
    SerializationError,
)
from proxystore.payload import BytesLike, as_bytes
from proxystore.proxy import Proxy, extract, is_resolved
from proxystore.serialize import serialize
from proxystore.store import Store, StoreFactory, prefetch

TIMEOUT_S = 20


class BatchingConnector(LocalConnector):
    """Notes what is asked of it; a batch waits for `release`, and fails if `fails`."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []
        self.began, self.release = threading.Event(), threading.Event()
        self.release.set()
        self.fails = False

    def get_batch(self, keys: Sequence[LocalKey]) -> list[BytesLike | None]:
        self.asked.append(len(keys))
        self.began.set()
        assert self.release.wait(TIMEOUT_S)
        if self.fails:
            raise ConnectorUnavailableError("this medium", "it is turned off")
        return [super(BatchingConnector, self).get(key) for key in keys]

    def get_with_generation(self, key: LocalKey) -> tuple[BytesLike | None, int | None]:
        self.asked.append("one")
        return super().get_with_generation(key)


@pytest.fixture
def store() -> Iterator[Store[BatchingConnector]]:
    with Store("demo", BatchingConnector()) as made:
        yield made


def test_each_proxy_is_resolved_by_its_own_store(tmp_path: Any) -> None:
    with (
        Store("one", FileConnector(str(tmp_path / "medium")), populate_target=False) as one,
        Store.from_url(str(one.url), deserializer=len, populate_target=False) as two,
        Store.from_url(str(one.url), readonly=True, populate_target=False) as three,
    ):
        key = one.put(np.zeros(3))
        proxies = [each.proxy_from_key(key) for each in (three, two, one)]
        prefetch(proxies).result(TIMEOUT_S)
        assert all(map(is_resolved, proxies))
        assert extract(proxies[1]) == len(as_bytes(serialize(np.zeros(3))))
        extract(proxies[2])[:] = 1
        assert not extract(proxies[0]).flags.writeable


def test_many_proxies_of_one_object_have_an_array_each(store: Store[BatchingConnector]) -> None:
    key = store.put(np.zeros(3))
    proxies = [store.proxy_from_key(key) for _ in range(4)]
    prefetch(proxies).result(TIMEOUT_S)
    for number, proxy in enumerate(proxies):
        proxy += number
    assert [int(proxy[0]) for proxy in proxies] == [0, 1, 2, 3]


def proxies_of(store: Store[Any], objs: Sequence[Any], **kwargs: Any) -> list[Any]:
    return [store.proxy(obj, populate_target=False, **kwargs) for obj in objs]


def test_proxies_of_one_store_come_in_one_request(store: Store[BatchingConnector]) -> None:
    proxies = proxies_of(store, ["a", "b", "c"])
    assert prefetch(proxies).result(TIMEOUT_S) is None
    assert all(is_resolved(proxy) for proxy in proxies)
    assert [extract(proxy) for proxy in proxies] == ["a", "b", "c"]
    assert store.connector.asked == [3]


def test_each_store_is_asked_for_its_own(store: Store[BatchingConnector]) -> None:
    with Store("other", BatchingConnector()) as other:
        proxies = proxies_of(store, ["a", "b"]) + proxies_of(other, ["c"])
        prefetch(proxies).result(TIMEOUT_S)
        assert [extract(proxy) for proxy in proxies] == ["a", "b", "c"]
        assert (store.connector.asked, other.connector.asked) == ([2], [1])


def test_use_waits_for_no_other_proxy(store: Store[BatchingConnector]) -> None:
    store.connector.release.clear()
    proxies = proxies_of(store, ["a", "b"])
    future = prefetch(proxies)
    assert store.connector.began.wait(TIMEOUT_S)
    assert proxies[1] == "b"
    assert not future.done()
    store.connector.release.set()
    future.result(TIMEOUT_S)
    assert proxies[0] == "a"
    assert store.connector.asked == [2, "one"]


def test_a_store_that_does_not_answer_keeps_no_other_waiting(
    store: Store[BatchingConnector],
) -> None:
    store.connector.release.clear()
    with Store("other", BatchingConnector()) as other:
        (mine,), (others,) = proxies_of(store, ["a"]), proxies_of(other, ["b"])
        future = prefetch([mine, others])
        prefetch([others]).result(TIMEOUT_S)
        assert (is_resolved(mine), is_resolved(others), future.done()) == (False, True, False)
        store.connector.release.set()
        future.result(TIMEOUT_S)


def test_an_absent_object_is_an_error_of_its_proxy_alone(
    store: Store[BatchingConnector],
) -> None:
    gone, there = proxies_of(store, ["a", "b"])
    store.evict(gone.__proxy_factory__.key)
    prefetch([gone, there]).result(TIMEOUT_S)
    assert (is_resolved(gone), is_resolved(there)) == (False, True)
    with pytest.raises(ProxyResolveError) as caught:
        len(gone)
    assert isinstance(caught.value.__cause__, ObjectNotFoundError)


def test_a_damaged_object_is_an_error_of_its_proxy_alone(
    store: Store[BatchingConnector],
) -> None:
    damaged = store.connector.put(b"no object")
    proxies = [*proxies_of(store, ["a"]), store.proxy_from_key(damaged), *proxies_of(store, ["b"])]
    prefetch(proxies).result(TIMEOUT_S)
    assert [is_resolved(proxy) for proxy in proxies] == [True, False, True]
    with pytest.raises(ProxyResolveError) as caught:
        len(proxies[1])
    assert isinstance(caught.value.__cause__, SerializationError)


def test_a_medium_that_fails_is_an_error_where_its_proxies_are_used(
    store: Store[BatchingConnector],
) -> None:
    store.connector.fails = True
    proxies = proxies_of(store, ["a", "b"])
    prefetch(proxies).result(TIMEOUT_S)
    assert not any(is_resolved(proxy) for proxy in proxies)
    assert proxies == ["a", "b"]


def test_what_ends_with_its_first_use_ends_when_it_is_prefetched(
    store: Store[BatchingConnector],
) -> None:
    (proxy,) = proxies_of(store, ["a"], evict=True)
    prefetch([proxy]).result(TIMEOUT_S)
    assert not store.exists(proxy.__proxy_factory__.key)
    assert proxy == "a"


def test_a_proxy_used_meanwhile_ends_its_object_once(store: Store[BatchingConnector]) -> None:
    store.connector.release.clear()
    (proxy,) = proxies_of(store, ["a"], evict=True)
    future = prefetch([proxy])
    assert store.connector.began.wait(TIMEOUT_S)
    assert proxy == "a"
    store.connector.release.set()
    future.result(TIMEOUT_S)
    assert proxy == "a"


def test_two_proxies_of_one_object_do_not_share_what_can_be_written(
    store: Store[BatchingConnector],
) -> None:
    pickled = pickle.dumps(store.proxy(np.zeros(3)))
    one, two = pickle.loads(pickled), pickle.loads(pickled)
    prefetch([one, two]).result(TIMEOUT_S)
    assert is_resolved(one)
    assert is_resolved(two)
    one += 1
    assert two.sum() == 0


def test_a_proxy_brings_its_own_deserializer(store: Store[BatchingConnector]) -> None:
    proxies = [
        *proxies_of(store, [b"abc"], serializer=bytes, deserializer=len),
        *proxies_of(store, [b"abcd"], serializer=bytes, deserializer=bytes),
    ]
    prefetch(proxies).result(TIMEOUT_S)
    assert [extract(proxy) for proxy in proxies] == [3, b"abcd"]


def test_resolved_proxies_and_those_of_other_factories_may_be_among_them(
    store: Store[BatchingConnector],
) -> None:
    proxies: list[Any] = [store.proxy("a"), Proxy(lambda: "b"), *proxies_of(store, ["c"])]
    prefetch(proxies).result(TIMEOUT_S)
    assert [extract(proxy) for proxy in proxies] == ["a", "b", "c"]
    assert store.connector.asked == [1]


def test_nothing_to_do_is_done_at_once() -> None:
    assert prefetch([]).result(0) is None


def test_something_that_is_no_proxy_is_refused(store: Store[BatchingConnector]) -> None:
    proxies = proxies_of(store, ["a"])
    with pytest.raises(TypeError, match="Expected a Proxy"):
        prefetch([*proxies, "b"])
    assert not is_resolved(proxies[0])


def test_a_coroutine_can_wait_for_it(store: Store[BatchingConnector]) -> None:
    proxies = proxies_of(store, ["a", "b"])

    async def main() -> None:
        await asyncio.wrap_future(prefetch(proxies))
        assert all(is_resolved(proxy) for proxy in proxies)

    asyncio.run(main())


@pytest.mark.slow
def test_threads_that_use_and_prefetch_the_same_proxies_all_see_the_objects() -> None:
    with Store("demo") as store, ThreadPoolExecutor(8) as threads:
        for number in range(20):
            arrays = [np.full(n % 7 * 5000 + 1, n + number) for n in range(40)]
            proxies = [pickle.loads(pickle.dumps(store.proxy(a, evict=True))) for a in arrays]

            def use(start: int, proxies: list[Any] = proxies) -> list[float]:
                future = prefetch(proxies[start::2])
                seen = [float(proxy[-1]) for proxy in proxies[start:] + proxies[:start]]
                future.result(TIMEOUT_S)
                return seen[-start:] + seen[:-start] if start else seen

            for seen in threads.map(use, range(8)):
                assert seen == [float(array[-1]) for array in arrays]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_meanwhile_can_use_the_proxies(store: Store[BatchingConnector]) -> None:
    store.connector.release.clear()
    proxies = proxies_of(store, ["a", "b"])
    future = prefetch(proxies)
    assert store.connector.began.wait(TIMEOUT_S)
    pid = os.fork()
    if pid == 0:
        signal.alarm(TIMEOUT_S)
        os._exit(0 if proxies == ["a", "b"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    store.connector.release.set()
    future.result(TIMEOUT_S)


@pytest.mark.slow
def test_a_process_that_meets_the_store_first_here_opens_it(run_python: Any) -> None:
    with Store("demo") as store:
        proxies = [store.proxy(np.arange(n)) for n in (3, 100_000)]
        code = (
            "from proxystore.store import prefetch\n"
            "from proxystore.proxy import is_resolved\n"
            "prefetch(given).result(20)\n"
            "result = [(is_resolved(proxy), int(proxy.sum())) for proxy in given]\n"
        )
        assert run_python(code, proxies) == [(True, 3), (True, 4999950000)]


def test_the_factory_says_where_its_store_is(store: Store[BatchingConnector]) -> None:
    factory = store.proxy("a").__proxy_factory__
    assert isinstance(factory, StoreFactory)
    assert factory.reference == store.reference
