"""Objects that travel inside their proxies."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from proxystore.connectors.local import LocalConnector
from proxystore.errors import ProxyStoreFactoryError, SerializationError
from proxystore.proxy import Proxy, get_factory, is_resolved
from proxystore.serialize import serialize
from proxystore.store import InlineFactory, Store, StoreConfig, StoreFactory, get_key

INLINE_NBYTES = 2048
RunPython = Callable[..., Any]


@pytest.fixture
def store() -> Iterator[Store[Any]]:
    with Store("demo", inline_nbytes=INLINE_NBYTES, populate_target=False) as store:
        yield store


def n_stored(store: Store[Any]) -> int:
    return len(list(store.connector.entries()))


def travelled(proxy: Proxy[Any]) -> Any:
    return pickle.loads(pickle.dumps(proxy))


def test_a_small_object_travels_in_its_proxy_and_is_not_stored(store: Store[Any]) -> None:
    proxy = travelled(store.proxy([1, 2, 3]))
    assert not is_resolved(proxy)
    assert proxy == [1, 2, 3]
    assert n_stored(store) == 0


@pytest.mark.parametrize(("spare", "n"), [(0, 1), (1, 0)])
def test_an_object_travels_inline_if_it_serializes_to_less(spare: int, n: int) -> None:
    nbytes = serialize([1, 2, 3]).nbytes
    with Store("demo", inline_nbytes=nbytes + spare) as store:
        store.proxy([1, 2, 3])
        assert n_stored(store) == n


@pytest.mark.parametrize("nbytes", [None, "4096", 1.5, True])
def test_what_is_no_number_of_bytes_is_refused(nbytes: Any) -> None:
    with pytest.raises(TypeError, match="inline_nbytes is a whole number"):
        Store("demo", inline_nbytes=nbytes)


def test_a_negative_number_of_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="inline_nbytes=-1"):
        Store("demo", inline_nbytes=-1)


def test_a_batch_of_small_objects_asks_nothing_of_the_connector() -> None:
    class Idle(LocalConnector):
        def put_batch(self, payloads: Any, **_: Any) -> Any:
            raise AssertionError("There is nothing to put.")

    with Store("demo", Idle(), inline_nbytes=INLINE_NBYTES) as store:
        assert store.proxy_batch([1, 2]) == [1, 2]


def test_a_larger_object_is_stored(store: Store[Any]) -> None:
    proxy = store.proxy(bytes(INLINE_NBYTES))
    assert isinstance(get_factory(proxy), StoreFactory)
    assert len(pickle.dumps(proxy)) < 250
    assert travelled(proxy) == bytes(INLINE_NBYTES)


def test_by_default_every_object_is_stored() -> None:
    with Store("demo") as store:
        assert isinstance(get_factory(store.proxy(1)), StoreFactory)


def test_who_says_how_to_store_an_object_has_it_stored(store: Store[Any]) -> None:
    store.proxy("text", ttl=60)
    assert n_stored(store) == 1


def test_who_needs_a_key_has_the_object_stored(store: Store[Any]) -> None:
    assert store.get(get_key(store.proxy("text", inline=False))) == "text"
    proxies = store.proxy_batch(["a", "b"], inline=False)
    assert [store.get(get_key(proxy)) for proxy in proxies] == ["a", "b"]
    assert store.get(get_key(asyncio.run(store.aproxy("c", inline=False)))) == "c"


def test_put_stores_small_objects_too(store: Store[Any]) -> None:
    assert store.get(store.put("text")) == "text"
    assert n_stored(store) == 1


def test_each_resolve_gives_an_array_of_its_own(store: Store[Any]) -> None:
    wire = pickle.dumps(store.proxy(np.zeros(4)))
    first, second = pickle.loads(wire), pickle.loads(wire)
    first += 1
    assert second.tolist() == [0.0] * 4


def test_changes_after_the_proxy_was_made_do_not_reach_it(store: Store[Any]) -> None:
    array = np.zeros(4)
    proxy = store.proxy(array)
    array += 1
    assert proxy.tolist() == [0.0] * 4


def test_a_readonly_store_gives_readonly_arrays() -> None:
    with Store("demo", inline_nbytes=INLINE_NBYTES, readonly=True) as store:
        proxy = travelled(store.proxy(np.zeros(4)))
    with pytest.raises(ValueError, match="read-only"):
        proxy += 1


def test_the_proxy_outlives_its_store_and_any_evict() -> None:
    with Store("demo", inline_nbytes=INLINE_NBYTES) as store:
        wire = pickle.dumps(store.proxy({"loss": 0.25}, evict=True))
    assert [pickle.loads(wire)["loss"] for _ in range(2)] == [0.25, 0.25]


def test_it_has_no_key(store: Store[Any]) -> None:
    with pytest.raises(ProxyStoreFactoryError):
        get_key(store.proxy(1))


def test_a_batch_stores_what_is_large_and_keeps_the_order(store: Store[Any]) -> None:
    objs = ["a", bytes(INLINE_NBYTES), "b", bytes(INLINE_NBYTES + 1)]
    assert [travelled(proxy) for proxy in store.proxy_batch(objs)] == objs
    assert n_stored(store) == 2


def test_a_coroutine_makes_the_same_proxies(store: Store[Any]) -> None:
    assert travelled(asyncio.run(store.aproxy("text"))) == "text"
    assert n_stored(store) == 0


def test_own_serializers_are_used() -> None:
    with Store(
        "demo",
        serializer=lambda obj: json.dumps(obj).encode(),
        deserializer=json.loads,
        inline_nbytes=INLINE_NBYTES,
        populate_target=False,
    ) as store:
        assert travelled(store.proxy({"a": [1]})) == {"a": [1]}


def test_damage_on_the_way_is_noticed(store: Store[Any]) -> None:
    data = bytearray(get_factory(store.proxy("a text"))._data)
    data[-1] ^= 1
    with pytest.raises(SerializationError):
        InlineFactory(bytes(data)).resolve()


def test_a_card_shows_what_it_is_and_not_its_data(store: Store[Any]) -> None:
    factory = get_factory(store.proxy("a secret text"))
    assert "in the proxy" in str(factory.facts()["carried"])
    assert "secret" not in repr(factory)


def test_another_process_needs_no_medium(store: Store[Any], run_python: RunPython) -> None:
    wire = pickle.dumps(store.proxy([1, 2]))
    store.close()
    assert run_python(
        "result = sum(pickle.loads(given)), 'proxystore.connectors.shm' in sys.modules", wire
    ) == (3, False)


def test_the_option_is_part_of_the_config(store: Store[Any]) -> None:
    config = StoreConfig.model_validate(store.config().model_dump())
    assert config.inline_nbytes == INLINE_NBYTES
