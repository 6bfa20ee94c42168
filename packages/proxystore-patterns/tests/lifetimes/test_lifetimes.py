"""Lifetimes: what they hold ends with them, whatever they end with."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from proxystore.abc import Lifetime
from proxystore.connectors.local import LocalConnector
from proxystore.errors import ConnectorUnavailableError, ProxyStoreFactoryError
from proxystore.proxy import Proxy
from proxystore.store import Store, get_key
from proxystore_patterns.errors import LifetimeEndedError
from proxystore_patterns.futures import future
from proxystore_patterns.lifetimes import (
    ContextLifetime,
    StaticLifetime,
    TaskLifetime,
    find_leaks,
    register_lifetime_atexit,
)

TIMEOUT_S = 20

MakeStore = Callable[..., Store[Any]]
Until = Callable[[Callable[[], bool]], bool]


@pytest.fixture
def local(make_store: MakeStore) -> Store[Any]:
    return make_store("local")


def test_they_are_lifetimes_as_stores_know_them(local: Store[Any]) -> None:
    assert isinstance(ContextLifetime(local), Lifetime)


def test_objects_end_with_a_block(store: Store[Any]) -> None:
    with ContextLifetime(store) as lifetime:
        keys = [store.put("a", lifetime=lifetime), *store.put_batch("bc", lifetime=lifetime)]
        keys.append(get_key(store.proxy("d", lifetime=lifetime)))
        proxy = store.proxy("e")
        lifetime.add_proxy(proxy)
        keys.append(get_key(proxy))
        others = store.put("other")
        assert all(store.exists(key) for key in keys)
        assert not lifetime.done()
    assert lifetime.done()
    assert not any(store.exists(key) for key in keys)
    assert store.exists(others)
    lifetime.close()


def test_what_comes_too_late_ends_at_once(local: Store[Any]) -> None:
    lifetime = ContextLifetime(local, name="short")
    lifetime.close()
    key = local.put("x")
    with pytest.raises(LifetimeEndedError, match="The lifetime short has ended"):
        lifetime.add_key(key)
    assert not local.exists(key)


def test_a_lifetime_holds_objects_of_several_stores(make_store: MakeStore) -> None:
    one, two = make_store("shm"), make_store("local")
    lifetime = ContextLifetime(one)
    keys = one.put(1, lifetime=lifetime), two.put(2, lifetime=lifetime)
    lifetime.close(close_stores=True)
    assert one.closed
    assert two.closed
    assert keys


def test_a_lifetime_without_a_store_asks_for_one() -> None:
    with pytest.raises(ValueError, match="Pass store="):
        ContextLifetime().add_key(("a",))


def test_a_foreign_proxy_is_refused(local: Store[Any]) -> None:
    with ContextLifetime(local) as lifetime, pytest.raises(ProxyStoreFactoryError):
        lifetime.add_proxy(Proxy(list))


def test_a_lifetime_inside_another_ends_first(local: Store[Any]) -> None:
    order: list[str] = []

    class Telling(LocalConnector):
        def evict(self, key: Any) -> None:
            order.append(bytes(self.get(key) or b"")[-1:].decode())
            super().evict(key)

    with Store("telling", Telling(), serializer=str.encode, deserializer=bytes.decode) as store:
        outer = ContextLifetime(store)
        inner = ContextLifetime(store, parent=outer)
        leaf = ContextLifetime(store, parent=inner)
        for name, lifetime in (("o", outer), ("i", inner), ("l", leaf)):
            store.put(name, lifetime=lifetime)
        outer.close()
    assert ["l", "i", "o"] == order
    assert all(each.done() for each in (outer, inner, leaf))
    with pytest.raises(LifetimeEndedError):
        ContextLifetime(local, parent=outer)


def test_a_lifetime_inside_another_needs_nobody_to_keep_it(local: Store[Any]) -> None:
    outer = ContextLifetime(local)
    key = local.put(1, lifetime=ContextLifetime(local, parent=outer))
    gc.collect()
    outer.close()
    assert not local.exists(key)


def test_a_lifetime_keeps_none_that_ended_inside_it(local: Store[Any]) -> None:
    outer = ContextLifetime(local)
    inner = weakref.ref(ContextLifetime(local, parent=outer))
    found = inner()
    assert found is not None
    found.close()
    del found
    gc.collect()
    assert inner() is None


def test_an_inner_lifetime_may_end_before(local: Store[Any]) -> None:
    outer = ContextLifetime(local)
    inner = ContextLifetime(local, parent=outer)
    kept = local.put(1, lifetime=outer)
    inner.close()
    assert local.exists(kept)
    outer.close()


def test_a_future_ends_with_a_lifetime(store: Store[Any]) -> None:
    with ContextLifetime(store) as lifetime:
        made = future(store, lifetime=lifetime)
        made.set_result(1)
        assert store.exists(made.key)
    assert not store.exists(made.key)


# --- Tasks ----------------------------------------------------------------------


@pytest.mark.parametrize("ends", ["result", "exception"])
def test_objects_end_with_a_task_of_an_executor(local: Store[Any], ends: str) -> None:
    go_on = threading.Event()

    def task() -> None:
        go_on.wait(TIMEOUT_S)
        if ends == "exception":
            raise ValueError

    with ThreadPoolExecutor(1) as pool:
        submitted = pool.submit(task)
        lifetime = TaskLifetime(submitted, local)
        key = local.put(1, lifetime=lifetime)
        assert not lifetime.done()
        go_on.set()
    assert lifetime.done()
    assert not local.exists(key)


def test_objects_end_with_a_task_that_is_cancelled(local: Store[Any]) -> None:
    with ThreadPoolExecutor(1) as pool:
        hold = threading.Event()
        pool.submit(hold.wait, TIMEOUT_S)
        waiting = pool.submit(print)
        key = local.put(1, lifetime=TaskLifetime(waiting, local))
        assert waiting.cancel()
        hold.set()
    assert not local.exists(key)


def test_objects_end_with_a_task_of_asyncio(store: Store[Any]) -> None:
    async def main() -> Any:
        go_on = asyncio.Event()
        task = asyncio.ensure_future(go_on.wait())
        lifetime = TaskLifetime(task, store)
        key = await store.aput(1, lifetime=lifetime)
        go_on.set()
        await task
        return key

    key = asyncio.run(main())
    assert not store.exists(key)


def test_objects_end_with_a_future_of_a_store(store: Store[Any], until: Until) -> None:
    made = future(store)
    key = store.put(1, lifetime=TaskLifetime(made, store))
    assert store.exists(key)
    made.set_result(1)
    assert until(lambda: not store.exists(key))


def test_what_is_added_after_the_task_ends_at_once(local: Store[Any]) -> None:
    with ThreadPoolExecutor(1) as pool:
        task = pool.submit(int)
        task.result(TIMEOUT_S)
    lifetime = TaskLifetime(task, local)
    with pytest.raises(LifetimeEndedError):
        local.put(1, lifetime=lifetime)


# --- The interpreter --------------------------------------------------------------


def test_there_is_one_static_lifetime() -> None:
    assert StaticLifetime() is StaticLifetime()
    assert not StaticLifetime().done()


def test_static_objects_end_with_the_interpreter(
    make_store: MakeStore, run: Callable[..., Any]
) -> None:
    store = make_store("file")
    program = run(
        "from proxystore.store import get_store\n"
        "from proxystore_patterns.lifetimes import StaticLifetime\n"
        "store = get_store(given)\n"
        "say(tuple(store.put('x', lifetime=StaticLifetime())))",
        store.proxy("any"),
    )
    key = store.make_key(program.hear())
    assert 0 == program.wait()
    assert not store.exists(key)
    assert [] == find_leaks()


def test_any_lifetime_can_end_with_the_interpreter(local: Store[Any]) -> None:
    lifetime = ContextLifetime(local)
    key = local.put(1, lifetime=lifetime)
    end = register_lifetime_atexit(lifetime, close_stores=False)
    end()
    assert lifetime.done()
    assert not local.exists(key)
    assert not local.closed


# --- What goes wrong ---------------------------------------------------------------


class Unreachable(LocalConnector):
    """Cannot be reached while it is told so."""

    is_away = True

    def evict(self, key: Any) -> None:
        if self.is_away:
            raise ConnectorUnavailableError("a medium", "it is away", "Wait.")
        super().evict(key)


def test_what_could_not_be_evicted_is_held_still(caplog: pytest.LogCaptureFixture) -> None:
    connector = Unreachable()
    with Store("away", connector) as store:
        lifetime = ContextLifetime(store)
        keys = store.put_batch("abc", lifetime=lifetime)
        with pytest.raises(ConnectorUnavailableError):
            lifetime.close()
        assert lifetime.done()
        lifetime.end_quietly()
        assert "could not evict" in caplog.text
        connector.is_away = False
        lifetime.close()
        assert not any(store.exists(key) for key in keys)


def test_a_lifetime_whose_store_is_closed_ends(make_store: MakeStore) -> None:
    store = make_store("shm")
    with ContextLifetime(store) as lifetime:
        store.put(1, lifetime=lifetime)
        store.close()
    assert lifetime.done()


def test_a_forked_child_ends_nothing_of_its_parent(make_store: MakeStore) -> None:
    store = make_store("shm")
    lifetime = ContextLifetime(store)
    key = store.put(1, lifetime=lifetime)
    child = os.fork()
    if child == 0:
        try:
            lifetime.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert store.exists(key)
    lifetime.close()
    assert not store.exists(key)


def test_threads_may_add_while_a_lifetime_ends(make_store: MakeStore, until: Until) -> None:
    store = make_store("shm")
    lifetime = ContextLifetime(store)
    keys: list[Any] = []

    def add() -> None:
        try:
            while True:
                keys.append(store.put(1))
                lifetime.add_key(keys[-1])
        except LifetimeEndedError:
            pass

    with ThreadPoolExecutor(4) as pool:
        adding = [pool.submit(add) for _ in range(4)]
        assert until(lambda: len(keys) > 40)
        lifetime.close()
        for each in adding:
            each.result(TIMEOUT_S)
    assert not any(store.exists(key) for key in keys)
    assert [] == find_leaks()


def test_a_directory_that_cannot_be_written_costs_a_warning(
    make_store: MakeStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("no directory")
    monkeypatch.setenv("PROXYSTORE_HOME", str(tmp_path / "file"))
    store = make_store("shm")
    with ContextLifetime(store) as lifetime:
        key = store.put(1, lifetime=lifetime)
        assert "cannot be noted" in caplog.text
    assert not store.exists(key)
