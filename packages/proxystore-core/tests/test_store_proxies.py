"""Proxies of a store: here, in other processes, and after their objects are gone."""

from __future__ import annotations

import gc
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector
from proxystore.connectors.shm import ShmKey
from proxystore.errors import (
    NonProxiableTypeError,
    ObjectNotFoundError,
    ProxyResolveError,
    ProxyStoreFactoryError,
)
from proxystore.factory import SimpleFactory
from proxystore.proxy import Proxy, ProxyLocker, extract, is_resolved
from proxystore.store import Store, StoreFactory, get_key, get_store
from proxystore.store.registry import STORES

RunPython = Callable[..., Any]


@pytest.fixture
def store() -> Iterator[Store[Any]]:
    with Store("demo") as made:
        yield made


def sent(obj: Any) -> Any:
    """What another process gets when ``obj`` is sent to it."""
    return pickle.loads(pickle.dumps(obj))


# --- Making them --------------------------------------------------------------


def test_a_proxy_holds_the_object_it_was_made_of(store: Store[Any]) -> None:
    obj = [1, 2]
    proxy = store.proxy(obj)
    assert extract(proxy) is obj
    assert extract(sent(proxy)) == obj


def test_a_proxy_need_not_hold_its_object_and_knows_its_class_all_the_same() -> None:
    with Store("demo", LocalConnector(), populate_target=False) as store:
        proxy = store.proxy([1])
        assert isinstance(proxy, list)
        assert not is_resolved(proxy)
        assert is_resolved(store.proxy([1], populate_target=True))
        assert proxy == [1]


@pytest.mark.parametrize("obj", [None, True, False])
def test_none_and_bool_cannot_be_proxied(store: Store[Any], obj: object) -> None:
    with pytest.raises(NonProxiableTypeError, match=type(obj).__name__):
        store.proxy(obj)
    with pytest.raises(NonProxiableTypeError):
        store.proxy_batch([1, obj])
    assert store.proxy(obj, skip_nonproxiable=True) is obj
    assert store.locked_proxy(obj) is obj


def test_a_batch_keeps_its_order_around_what_cannot_be_proxied(store: Store[Any]) -> None:
    results = store.proxy_batch([1, None, "a", True], skip_nonproxiable=True)
    assert results == [1, None, "a", True]
    assert [isinstance(result, Proxy) for result in results] == [True, False, True, False]


def test_a_proxy_from_a_key_is_not_resolved(store: Store[Any]) -> None:
    proxy = store.proxy_from_key(store.put("x"))
    assert not is_resolved(proxy)
    assert proxy == "x"


def test_a_locked_proxy_is_unlocked_before_use(store: Store[Any]) -> None:
    locker = store.locked_proxy("x")
    assert isinstance(locker, ProxyLocker)
    assert locker.unlock() == "x"


def test_an_object_ends_in_one_way_only(store: Store[Any]) -> None:
    lifetime: Any = object()
    for make in (store.proxy, store.proxy_from_key):
        with pytest.raises(ValueError, match="Leave out one"):
            make("x", evict=True, lifetime=lifetime)
    with pytest.raises(ValueError, match="Leave out one"):
        store.proxy_batch(["x"], evict=True, lifetime=lifetime)


def test_the_key_of_a_proxy_is_known_without_resolving_it(store: Store[Any]) -> None:
    key = store.put("x")
    proxy = sent(store.proxy_from_key(key))
    assert (get_key(proxy), type(get_key(proxy))) == (key, ShmKey)
    assert not is_resolved(proxy)


def test_what_only_a_proxy_of_a_store_has_is_asked_of_no_other() -> None:
    proxy = Proxy(SimpleFactory(1))
    for ask in (get_key, get_store):
        with pytest.raises(ProxyStoreFactoryError, match="SimpleFactory"):
            ask(proxy)


@pytest.mark.slow
def test_the_attributes_of_a_factory(store: Store[Any]) -> None:
    key = store.put("x")
    factory = StoreFactory(key, store.config(), evict=True, deserializer=bytes)
    assert (factory.key, factory.evict, factory.deserializer) == (key, True, bytes)
    assert factory.store_config == store.config()
    assert factory.get_store() is store


# --- Finding the store --------------------------------------------------------


def test_proxies_of_two_stores_of_one_name_find_each_its_own(run_python: RunPython) -> None:
    with Store("same") as first, Store("same") as second:
        proxies = pickle.dumps([first.proxy("first"), second.proxy("second")])
        assert [str(proxy) for proxy in pickle.loads(proxies)] == ["first", "second"]
        assert run_python("result = list(map(str, pickle.loads(given)))", proxies) == [
            "first",
            "second",
        ]


def test_a_proxy_used_where_it_was_made_reaches_the_store_that_made_it(store: Store[Any]) -> None:
    assert get_store(sent(store.proxy("x"))) is store


def test_a_store_lives_as_long_as_a_proxy_that_needs_it() -> None:
    proxy = Store("demo", LocalConnector(), populate_target=False).proxy("x")
    gc.collect()
    assert proxy == "x"


def test_a_store_is_opened_once_in_another_process(
    store: Store[Any], run_python: RunPython
) -> None:
    code = """
import gc
from proxystore.store import get_store
opened = id(get_store(pickle.loads(given)))
gc.collect()
again = get_store(pickle.loads(given))
result = opened == id(again), again is get_store(again.name) is get_store(again.identity)
"""
    assert run_python(code, pickle.dumps(store.proxy("x"))) == (True, True)


def test_a_store_opened_for_a_proxy_is_kept(store: Store[Any], run_python: RunPython) -> None:
    code = """
import gc
from proxystore.store import get_store
str(pickle.loads(given))
gc.collect()
result = get_store("demo") is not None
"""
    assert run_python(code, pickle.dumps(store.proxy("x"))) is True


def test_options_travel_with_a_proxy(tmp_path: Path, run_python: RunPython) -> None:
    with Store("demo", FileConnector(tmp_path / "objects"), cache_size=7, readonly=True) as store:
        code = """
from proxystore.store import get_store
options = get_store(pickle.loads(given)).options
result = options.cache_size, options.readonly, options.metrics
"""
        assert run_python(code, pickle.dumps(store.proxy("x"))) == (7, True, False)


def test_a_store_without_a_url_is_found_by_its_config() -> None:
    with Store("demo", LocalConnector()) as store:
        proxy = sent(store.proxy_from_key(store.put("x")))
        assert proxy == "x"
        STORES.reset()
        again = sent(store.proxy_from_key(store.put("y")))
        assert again == "y"
        assert get_store(again) is not store


# --- What a pickle holds ------------------------------------------------------


@pytest.mark.parametrize("protocol", range(4, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_proxy_of_an_array_is_at_most_200_bytes(store: Store[Any], protocol: int) -> None:
    assert len(pickle.dumps(store.proxy(np.zeros(1000)), protocol)) <= 200


@pytest.mark.slow
def test_unpickling_a_proxy_imports_nothing_of_its_object(
    store: Store[Any], run_python: RunPython
) -> None:
    code = """
proxy = pickle.loads(given)
before = sorted({"numpy", "pydantic", "proxystore.connectors.file"} & set(sys.modules))
total = float(proxy.sum())
result = before, total, "numpy" in sys.modules, "pydantic" in sys.modules
"""
    given = pickle.dumps(store.proxy(np.ones(10)))
    assert run_python(code, given) == ([], 10.0, True, False)


def test_a_pickle_names_no_class_of_key_or_connector(store: Store[Any]) -> None:
    data = pickle.dumps(store.proxy("x", evict=True))
    assert b"ShmKey" not in data
    assert b"ShmConnector" not in data


# --- Objects that are gone ----------------------------------------------------


def test_an_evicting_proxy_removes_its_object_at_the_first_use(
    store: Store[Any], run_python: RunPython
) -> None:
    data = pickle.dumps(store.proxy("once", evict=True))
    assert run_python("result = str(pickle.loads(given))", data) == "once"
    with pytest.raises(ProxyResolveError, match="first use elsewhere removed the object") as caught:
        str(pickle.loads(data))
    assert isinstance(caught.value.cause, ObjectNotFoundError)
    assert caught.value.cause.store_name == "demo"
    assert caught.value.cause.store_type == "ShmConnector"


def test_an_evicted_object_is_reported_with_key_and_store(store: Store[Any]) -> None:
    key = store.put("x")
    proxy = store.proxy_from_key(key)
    store.evict(key)
    with pytest.raises(ProxyResolveError, match=rf"No object under ShmKey.*{key.name}.*demo"):
        str(proxy)


def test_a_proxy_of_a_closed_store_says_what_happened(store: Store[Any]) -> None:
    proxy = sent(store.proxy("x"))
    store.close()
    with pytest.raises(ProxyResolveError, match=r"file:///|directory|/proxystore-"):
        str(proxy)


def test_an_error_of_a_proxy_reaches_another_process(store: Store[Any]) -> None:
    key = store.put("x")
    proxy = store.proxy_from_key(key)
    store.evict(key)
    with pytest.raises(ProxyResolveError) as caught:
        str(proxy)
    again = sent(caught.value)
    assert (str(again), str(again.cause)) == (str(caught.value), str(caught.value.cause))


# --- Workers ------------------------------------------------------------------


def test_a_worker_that_closes_its_copy_takes_nothing_from_the_owner(
    store: Store[Any], run_python: RunPython
) -> None:
    key = store.put("kept")
    code = """
from proxystore.store import get_store
proxy = pickle.loads(given)
text = str(proxy)
get_store(proxy).close()
result = text
"""
    assert run_python(code, pickle.dumps(store.proxy("x"))) == "x"
    assert store.get(key) == "kept"


def test_what_a_worker_stores_is_found_by_its_proxy(
    store: Store[Any], run_python: RunPython
) -> None:
    code = """
from proxystore.store import get_store
proxy = pickle.loads(given)
result = pickle.dumps(get_store(proxy).proxy(proxy * 2))
"""
    assert pickle.loads(run_python(code, pickle.dumps(store.proxy([1])))) == [1, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_resolves_a_proxy(store: Store[Any]) -> None:
    data = pickle.dumps(store.proxy(np.arange(100_000)))
    assert pickle.loads(data).sum() == 4999950000
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        status = 1
        try:
            status = 0 if pickle.loads(data).sum() == 4999950000 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# --- Connectors of the older contract -----------------------------------------


class PlainConnector:
    """Knows only bytes, as the contract of the older system has it."""

    objects: dict[tuple[str, int], bytes] = {}

    def put(self, obj: bytes) -> tuple[str, int]:
        assert type(obj) is bytes
        key = ("plain", len(self.objects))
        self.objects[key] = obj
        return key

    def put_batch(self, objs: list[bytes]) -> list[tuple[str, int]]:
        return [self.put(obj) for obj in objs]

    def get(self, key: tuple[str, int]) -> bytes | None:
        return self.objects.get(key)

    def get_batch(self, keys: list[tuple[str, int]]) -> list[bytes | None]:
        return [self.get(key) for key in keys]

    def exists(self, key: tuple[str, int]) -> bool:
        return key in self.objects

    def evict(self, key: tuple[str, int]) -> None:
        self.objects.pop(key, None)

    def config(self) -> dict[str, Any]:
        return {"where": Path("/here")}

    def close(self) -> None: ...


def test_a_connector_that_knows_only_bytes_works(store: Store[Any]) -> None:
    connector = PlainConnector()
    with Store("plain", connector) as plain:
        assert plain.connector is connector
        proxy = plain.proxy({"a": np.zeros(1000)}, populate_target=False)
        assert proxy["a"].shape == (1000,)
        assert plain.get_batch(plain.put_batch([1, 2])) == [1, 2]
        assert sent(proxy)["a"].shape == (1000,)
