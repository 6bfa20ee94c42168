"""What a store with ``metrics=True`` measures."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxystore.connectors.local import LocalConnector
from proxystore.store import Store
from proxystore.store.metrics import StoreMetrics, TimeStats


@pytest.fixture
def store() -> Iterator[Store[Any]]:
    with Store("demo", LocalConnector(), metrics=True, populate_target=False) as made:
        yield made


def measured(store: Store[Any], key: Any) -> Any:
    assert store.metrics is not None
    return store.metrics.get_metrics(key)


def test_a_store_measures_nothing_unless_asked() -> None:
    with Store("demo", LocalConnector()) as store:
        store.put(1)
        assert store.metrics is None


def test_puts_and_gets_are_timed_in_their_parts(store: Store[Any]) -> None:
    key = store.put("x" * 1000)
    store.get(key)
    store.get(key)
    found = measured(store, key)
    assert set(found.times) == {
        "store.put",
        "store.put.serialize",
        "store.put.connector",
        "store.get",
        "store.get.connector",
        "store.get.deserialize",
    }
    assert found.times["store.get"].count == 2
    assert found.counters == {"store.get.cache_hits": 1, "store.get.cache_misses": 1}
    assert 1000 <= found.attributes["store.put.object_size"] < 1200
    assert found.attributes["store.get.object_size"] == found.attributes["store.put.object_size"]


def test_the_rest_is_timed_too(store: Store[Any]) -> None:
    key = store.put(1)
    store.exists(key)
    store.evict(key)
    events = {"store.exists", "store.exists.connector", "store.evict", "store.evict.connector"}
    assert events <= set(measured(store, key).times)


def test_coroutines_are_timed_as_their_twins_are(store: Store[Any]) -> None:
    async def main() -> Any:
        key = await store.aput(1)
        await store.aget(key)
        return key

    times = measured(store, asyncio.run(main())).times
    assert {"store.put", "store.get", "store.get.deserialize"} <= set(times)


def test_a_proxy_is_measured_under_its_key(store: Store[Any]) -> None:
    proxy = store.proxy([1, 2])
    assert len(proxy) == 2
    assert {"store.proxy", "factory.resolve", "store.get"} <= set(measured(store, proxy).times)


def test_a_batch_is_measured_as_one(store: Store[Any]) -> None:
    proxies = store.proxy_batch([1, 2])
    found = measured(store, proxies)
    assert {"store.proxy_batch", "store.put_batch", "store.put_batch.serialize"} <= set(found.times)
    assert len(found.attributes["store.put_batch.object_sizes"]) == 2


def test_nothing_was_measured_about_an_unknown_key(store: Store[Any]) -> None:
    assert measured(store, ("unknown",)) is None


def test_times_are_milliseconds() -> None:
    metrics = StoreMetrics()
    metrics.add_time("store.get", "key", 2_500_000)
    stats = metrics.aggregate_times()["store.get"]
    assert (stats.last_time_ms, stats.avg_time_ms) == (2.5, 2.5)


def test_what_is_given_out_is_a_copy(store: Store[Any]) -> None:
    key = store.put(1)
    measured(store, key).counters["mine"] = 1
    assert "mine" not in measured(store, key).counters


@given(st.lists(st.lists(st.integers(0, 10**9), min_size=1, max_size=5), min_size=1, max_size=5))
def test_aggregated_times_are_those_of_all_events(times_ns: list[list[int]]) -> None:
    metrics = StoreMetrics()
    for key, each in enumerate(times_ns):
        for time_ns in each:
            metrics.add_time("event", key, time_ns)
    together = TimeStats()
    for time_ns in (time_ns for each in times_ns for time_ns in each):
        together.add(time_ns / 1e6, 0)
    found = metrics.aggregate_times()["event"]
    assert found.count == together.count
    assert found.avg_time_ms == pytest.approx(together.avg_time_ms)
    assert (found.min_time_ms, found.max_time_ms) == (together.min_time_ms, together.max_time_ms)


def test_a_finalizer_may_be_measured_while_something_else_is() -> None:
    metrics = StoreMetrics()

    class Interrupting:
        """A key during whose look-up other code runs, as a garbage collection can."""

        def __hash__(self) -> int:
            metrics.add_counter("store.get.cache_hits", "another")
            return 1

    arguments = ("store.get.cache_hits", Interrupting())
    thread = threading.Thread(target=metrics.add_counter, args=arguments, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
