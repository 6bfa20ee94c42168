"""One cache of several stores of a process."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector
from proxystore.payload import as_bytes
from proxystore.serialize import serialize
from proxystore.store import Store
from proxystore.store.cache import LRUCache


def test_stores_that_share_a_cache_find_their_own_objects() -> None:
    cache = LRUCache()
    with (
        Store("one", LocalConnector(), cache=cache) as one,
        Store("two", LocalConnector(), cache=cache) as two,
    ):
        key, twin = (store.connector.new_key("same") for store in (one, two))
        one.connector.set(key, serialize("first"))
        two.connector.set(twin, serialize("second"))
        assert key == twin
        for _ in range(2):
            assert (one.get(key), two.get(key)) == ("first", "second")
        assert (one.cache.hits, two.cache.hits, cache.hits) == (1, 1, 2)


def test_two_stores_of_one_medium_keep_what_each_made_of_its_bytes(tmp_path: Any) -> None:
    cache = LRUCache()
    with (
        Store("one", FileConnector(str(tmp_path / "medium")), cache=cache) as one,
        Store.from_url(str(one.url), deserializer=len, cache=cache) as two,
    ):
        assert one.identity == two.identity
        key = one.put("text")
        nbytes = len(as_bytes(serialize("text")))
        assert [store.get(key) for store in (one, two, one, two)] == ["text", nbytes] * 2


def test_stores_that_are_collected_meanwhile_disturb_no_other_share() -> None:
    cache = LRUCache(maxsize=10_000)
    with Store("kept", LocalConnector(), cache=cache) as kept:
        for key in kept.put_batch(range(2000)):
            kept.get(key)
        for _ in range(20):
            dropped = Store("dropped", LocalConnector(), cache=cache)
            for key in dropped.put_batch(range(50)):
                dropped.get(key)
            # In a circle, so that only a garbage collection ends it: in the midst of what follows.
            dropped.itself = dropped  # type: ignore[attr-defined]
            del dropped
            assert len(kept.cache) == 2000
    assert kept.closed


def test_a_store_that_is_closed_drops_only_its_own() -> None:
    cache = LRUCache()
    with Store("one", LocalConnector(), cache=cache) as one:
        kept = one.put("kept")
        one.get(kept)
        with Store("two", LocalConnector(), cache=cache) as two:
            two.get(two.put("dropped"))
            assert len(cache) == 2
        assert len(cache) == 1
        assert one.is_cached(kept)


def test_the_bound_in_bytes_is_that_of_the_shared_cache() -> None:
    cache = LRUCache(10, max_nbytes=3000)
    stores = [Store(f"store-{n}", LocalConnector(), cache=cache) for n in range(3)]
    for store in stores:
        key = store.put("x" * 1200)
        store.get(key)
        assert store.is_cached(key)
        assert cache.nbytes <= 3000
    assert (len(cache), cache.evictions, stores[0].cache.nbytes) == (2, 1, 0)
    for store in stores:
        store.close()


def test_a_shared_cache_stays_in_its_process() -> None:
    with Store("demo", LocalConnector(), cache=LRUCache(5)) as store:
        assert "cache" not in store.config().model_dump()
        assert store.reference.options == {}
        proxy = pickle.loads(pickle.dumps(store.proxy(np.arange(3))))
        assert proxy.sum() == 3


def test_something_that_is_no_cache_is_refused() -> None:
    with pytest.raises(TypeError, match="LRUCache"):
        Store("demo", cache={})
