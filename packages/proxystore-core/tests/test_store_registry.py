"""Stores found by name, identity and config."""

from __future__ import annotations

import gc
import pickle
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector
from proxystore.errors import (
    ConfigError,
    ProxyResolveError,
    StoreExistsError,
    StoreNotRegisteredError,
)
from proxystore.store import (
    Store,
    get_or_create_store,
    get_store,
    register_store,
    store_registration,
    unregister_store,
)
from proxystore.store.reference import StoreReference, identity_of
from proxystore.store.registry import STORES


@pytest.fixture(autouse=True)
def fresh_registry() -> Iterator[None]:
    STORES.reset()
    yield
    STORES.reset()


def local(name: str, **options: Any) -> Store[Any]:
    return Store(name, LocalConnector(), **options)


def test_a_store_is_found_by_name_and_identity_until_it_is_closed() -> None:
    with local("demo") as store:
        assert get_store("demo") is get_store(store.identity) is store
    assert (get_store("demo"), get_store(store.identity)) == (None, None)


def test_no_store_has_an_unknown_name() -> None:
    assert get_store("unknown") is None


def test_a_name_of_two_different_stores_finds_neither() -> None:
    with local("demo"), local("demo"):
        with pytest.raises(StoreNotRegisteredError, match="2 different stores") as caught:
            get_store("demo")
        assert caught.value.matches == 2


def test_a_registered_store_has_its_name_before_others() -> None:
    with local("demo"), local("demo", register=True) as registered:
        assert get_store("demo") is registered


def test_a_name_is_registered_once() -> None:
    with local("demo", register=True) as first, local("demo") as second:
        with pytest.raises(StoreExistsError, match="'demo'"):
            register_store(second)
        assert get_store("demo") is first
        register_store(second, exist_ok=True)
        assert get_store("demo") is second


def test_registering_the_same_store_again_is_fine(tmp_path: Path) -> None:
    with Store("demo", FileConnector(tmp_path / "objects"), register=True) as store:
        register_store(store)
        register_store(Store.from_url(store.url, name="demo"))


def test_unregistering_takes_the_name_away() -> None:
    with local("demo", register=True) as store:
        unregister_store(store)
        unregister_store("demo")
        assert get_store("demo") is None
        register_store(store)
        unregister_store("demo")
        assert get_store("demo") is None


def test_a_registered_store_is_kept_and_others_are_not() -> None:
    local("registered", register=True)
    local("other")
    gc.collect()
    assert get_store("registered") is not None
    assert get_store("other") is None


def test_registration_ends_with_its_block() -> None:
    with local("a") as first, local("b") as second:
        with store_registration(first, second):
            assert (get_store("a"), get_store("b")) == (first, second)
        assert (get_store("a"), get_store("b")) == (None, None)


def test_a_registration_that_fails_registers_nothing() -> None:
    with local("a") as first, local("b", register=True), local("b") as third:
        with pytest.raises(StoreExistsError), store_registration(first, third):
            pass
        assert get_store("a") is None


def test_a_store_of_a_config_is_opened_once(tmp_path: Path) -> None:
    with FileConnector(tmp_path / "objects") as connector:
        config = Store("demo", connector).config()
        STORES.reset()
        store = get_or_create_store(config)
        assert get_or_create_store(config) is get_store("demo") is store
        assert store.get(Store("same", connector).put("x")) == "x"


def test_a_store_of_a_config_need_not_take_the_name(tmp_path: Path) -> None:
    with (
        local("demo", register=True) as registered,
        Store("demo", FileConnector(tmp_path / "objects")) as other,
    ):
        assert get_or_create_store(other.config(), register=False) is other
        assert get_store("demo") is registered
        with pytest.raises(StoreExistsError):
            get_or_create_store(other.config())


def test_two_addresses_of_one_medium_lead_to_one_store(tmp_path: Path) -> None:
    with Store("demo", FileConnector(tmp_path / "objects")) as owner:
        assert STORES.obtain(owner.reference) is owner
        by_config = owner.reference._replace(address=("file", owner.connector.config()))
        assert STORES.obtain(by_config) is owner
        assert owner.get(owner.put(1)) == 1


def test_an_identity_leaves_out_names_secrets_and_order() -> None:
    secrets = frozenset({"password"})
    first = identity_of("redis", {"host": "a", "port": 1, "password": "env:A"}, secrets)
    assert first == identity_of("redis", {"port": 1, "host": "a"}, secrets)
    assert first != identity_of("redis", {"port": 2, "host": "a"}, secrets)
    assert first != identity_of("zmq", {"port": 1, "host": "a"}, secrets)
    assert len(first) == 16


def test_a_config_that_cannot_travel_is_refused() -> None:
    with pytest.raises(ConfigError, match="type object"):
        identity_of("redis", {"host": object()}, frozenset())


def test_of_the_stores_that_were_opened_for_proxies_only_the_last_used_are_kept(
    tmp_path: Path,
) -> None:
    connectors = [FileConnector(tmp_path / f"{n}") for n in range(100)]
    references = [StoreReference(connector.url, "demo", {}) for connector in connectors]
    opened = []
    for reference in references:
        STORES.obtain(references[0])
        opened.append(weakref.ref(STORES.obtain(reference)))
    gc.collect()
    kept = [n for n, store in enumerate(opened) if store() is not None]
    assert kept == [0, *range(37, 100)]
    for connector in connectors:
        connector.close()


def test_a_finalizer_may_use_the_registry_that_is_at_work() -> None:
    class Interrupting(str):
        """A name during whose look-up other code runs, as a garbage collection can."""

        def __hash__(self) -> int:
            get_store("another")
            return 1

    thread = threading.Thread(target=get_store, args=(Interrupting("demo"),), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_a_store_that_was_opened_for_a_proxy_of_a_closed_one_does_not_keep_its_name() -> None:
    with Store("demo") as closed:
        proxy = pickle.loads(pickle.dumps(closed.proxy([1])))
    with pytest.raises(ProxyResolveError, match="Its owner closed it"):
        proxy[0]
    assert get_store("demo") is None
    with Store("demo") as store:
        assert get_store("demo") is store


def test_a_store_is_opened_by_its_reference_too() -> None:
    with Store("referred") as store:
        assert get_or_create_store(store.reference, register=False) is store
