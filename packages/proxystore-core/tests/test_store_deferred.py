"""Stores whose keys are made before their objects."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxystore.abc import Capability
from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector
from proxystore.connectors.shm import ShmConnector
from proxystore.errors import (
    CapabilityError,
    InvalidKeyError,
    KeyAlreadySetError,
    KeyNotSetError,
    StoreClosedError,
)
from proxystore.payload import as_bytes
from proxystore.store import Store, _deferred
from proxystore.testing import MemoryConnector, MemoryKey

TIMEOUT_S = 20


@pytest.fixture(params=["local", "file", "shm"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store[Any]]:
    connectors: dict[str, Callable[[], Any]] = {
        "local": LocalConnector,
        "file": lambda: FileConnector(tmp_path / "objects"),
        "shm": ShmConnector,
    }
    with Store("deferred", connectors[request.param](), metrics=True) as made:
        yield made


@pytest.fixture
def plain() -> Iterator[Store[Any]]:
    """A store whose connector can nothing beyond the contract."""

    class PlainConnector(MemoryConnector):
        @property
        def capabilities(self) -> frozenset[Capability]:
            return frozenset()

    with Store("plain", PlainConnector()) as made:
        yield made


def test_an_object_is_got_by_the_key_that_was_made_before_it(store: Store[Any]) -> None:
    key = store.new_key()
    assert not store.exists(key)
    assert store.get(key) is None
    store.set(key, {"a": [1, 2]})
    assert {"a": [1, 2]} == store.get(key)


def test_one_object_id_gives_one_key(store: Store[Any]) -> None:
    assert store.new_key("mine") == store.new_key("mine") != store.new_key()
    with pytest.raises(InvalidKeyError):
        store.new_key("../mine")


def test_a_key_is_set_once(store: Store[Any]) -> None:
    key = store.new_key()
    store.set(key, "first")
    with pytest.raises(KeyAlreadySetError):
        store.set(key, "second")
    assert "first" == store.get(key)


def test_a_serializer_of_its_own_is_used(store: Store[Any]) -> None:
    key = store.new_key()
    store.set(key, "text", serializer=str.encode)
    assert "text" == store.get(key, deserializer=bytes.decode)
    store.replace(key, "more", serializer=str.encode)
    assert "more" == store.get(key, deserializer=bytes.decode)


def test_a_replaced_object_is_got_from_then_on(store: Store[Any]) -> None:
    key = store.put([1])
    before = store.get(key)
    store.replace(key, [2])
    assert [1] == before
    assert [2] == store.get(key)
    with pytest.raises(KeyNotSetError):
        store.replace(store.new_key(), [3])


def test_an_object_ends_with_its_time_to_live(store: Store[Any]) -> None:
    short, long = store.new_key(), store.new_key()
    store.set(short, "x", ttl=0.02)
    store.set(long, "y", ttl=0.02)
    assert store.touch(long, 60)
    deadline = time.monotonic() + TIMEOUT_S
    while store.exists(short) and time.monotonic() < deadline:
        pass
    assert not store.exists(short)
    assert store.exists(long)
    assert not store.touch(short, 60)


def test_a_wait_ends_when_the_key_is_set(store: Store[Any]) -> None:
    key = store.new_key()
    with ThreadPoolExecutor(4) as pool:
        waits = [pool.submit(store.wait, key, TIMEOUT_S) for _ in range(4)]
        store.set(key, 1)
        assert [True] * 4 == [wait.result(TIMEOUT_S) for wait in waits]
    assert store.wait(key, 0)


def test_a_wait_for_nothing_ends_in_time(store: Store[Any]) -> None:
    begun = time.monotonic()
    assert not store.wait(store.new_key(), 0.05)
    assert 0.05 <= time.monotonic() - begun < TIMEOUT_S
    assert not store.wait(store.new_key(), 0)


@pytest.mark.slow
def test_a_wait_ends_when_the_store_is_closed(store: Store[Any]) -> None:
    key, begins = store.new_key(), threading.Event()

    def wait() -> None:
        begins.set()
        store.wait(key, TIMEOUT_S)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        begins.wait(TIMEOUT_S)
        store.close()
        with pytest.raises(Exception, match=r"closed|gone|not there"):
            waiting.result(TIMEOUT_S)


def test_what_is_set_is_measured(store: Store[Any]) -> None:
    key = store.new_key()
    store.set(key, b"12345")
    store.replace(key, b"123456")
    store.wait(key, 1)
    assert store.metrics is not None
    metrics = store.metrics.get_metrics(key)
    assert metrics is not None
    for event in ("store.set", "store.set.serialize", "store.set.connector", "store.replace"):
        assert 1 == metrics.times[event].count
    assert 1 == metrics.times["store.wait"].count
    assert 5 <= metrics.attributes["store.set.object_size"]
    assert 6 <= metrics.attributes["store.replace.object_size"]


def test_the_coroutines_do_the_same(store: Store[Any]) -> None:
    async def main() -> None:
        key = store.new_key()
        assert not await store.await_(key, 0.01)
        waiting = asyncio.create_task(store.await_(key, TIMEOUT_S))
        await store.aset(key, "first")
        assert await waiting
        await store.areplace(key, "second")
        assert "second" == await store.aget(key)
        assert await store.atouch(key, None)
        with pytest.raises(KeyAlreadySetError):
            await store.aset(key, "third")

    asyncio.run(asyncio.wait_for(main(), TIMEOUT_S))


@pytest.mark.slow
def test_hundreds_of_coroutines_wait_at_once(store: Store[Any]) -> None:
    async def main() -> None:
        keys = [store.new_key() for _ in range(200)]
        waits = [asyncio.create_task(store.await_(key, TIMEOUT_S)) for key in keys]
        await asyncio.sleep(0)
        for key in keys:
            await store.aset(key, 1)
        assert all(await asyncio.gather(*waits))

    asyncio.run(asyncio.wait_for(main(), TIMEOUT_S))


@pytest.mark.parametrize(
    ("asked", "capability"),
    [
        (lambda store, key: store.new_key(), "deferrable"),
        (lambda store, key: store.set(key, 1), "deferrable"),
        (lambda store, key: store.replace(key, 1), "replaceable"),
        (lambda store, key: store.touch(key, 1), "leasable"),
    ],
)
def test_what_the_connector_cannot_do_is_named(
    plain: Store[Any], asked: Callable[[Store[Any], Any], Any], capability: str
) -> None:
    with pytest.raises(CapabilityError, match=f"{capability}, and PlainConnector is not"):
        asked(plain, plain.put(b""))


def test_a_timeout_that_is_no_number_is_refused(store: Store[Any]) -> None:
    key = store.new_key()
    for wait in (store.wait, lambda *args: asyncio.run(store.await_(*args))):
        with pytest.raises(ValueError, match="it was nan"):
            wait(key, float("nan"))


def test_those_who_look_for_one_key_do_so_ever_more_rarely_and_spread(
    plain: Store[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pauses(timeout: float) -> list[float]:
        now, slept = [0.0], []

        def sleep(seconds: float) -> None:
            now[0] += seconds
            slept.append(seconds)

        with monkeypatch.context() as patched:
            patched.setattr(
                _deferred, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep)
            )
            assert not plain.wait(MemoryKey("absent"), timeout)
        assert timeout == pytest.approx(sum(slept))
        return slept

    one, other = pauses(60), pauses(60)
    for slept in (one, other):
        assert max(slept[:5]) <= 0.001
        assert 0.2 < max(slept) <= 0.25
        assert len(slept) < 600
        late = slept[len(slept) // 2 : -1]
        assert min(late) < 0.15 < 0.22 < max(late), "each takes a half to the whole of its pause"
    assert sum(a == b for a, b in zip(one, other, strict=False)) < len(one) / 2


def test_a_store_waits_where_nobody_tells(plain: Store[Any]) -> None:
    assert plain.wait(plain.put(1), 0)
    assert not plain.wait(MemoryKey("absent"), 0.01)


def test_a_closed_store_says_so(store: Store[Any]) -> None:
    key = store.new_key()
    store.close()
    for asked in (
        store.new_key,
        lambda: store.set(key, 1),
        lambda: store.replace(key, 1),
        lambda: store.wait(key, 1),
        lambda: store.touch(key, 1),
    ):
        with pytest.raises(StoreClosedError):
            asked()


def test_set_adds_the_key_to_its_lifetime(store: Store[Any]) -> None:
    class Kept:
        def __init__(self) -> None:
            self.added: list[Any] = []

        def add_key(self, *keys: Any, store: Any = None) -> None:
            self.added += [*keys, store]

    key, lifetime = store.new_key(), Kept()
    store.set(key, b"x", lifetime=lifetime)
    assert [key, store] == lifetime.added
    assert b"x" == as_bytes(store.get(key))
