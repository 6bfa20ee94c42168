"""Batches of a store, beside those who get the same objects one by one."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from proxystore.abc import Capability, Medium
from proxystore.connectors.local import LocalConnector, LocalKey
from proxystore.payload import BytesLike
from proxystore.store import Store

TIMEOUT_S = 20


class FarConnector(LocalConnector):
    """Notes each request, as if it went over a network; a get waits for `release`."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.began, self.release = threading.Event(), threading.Event()
        self.release.set()

    @property
    def medium(self) -> Medium:
        return Medium.NETWORK

    def get_with_generation(self, key: LocalKey) -> tuple[BytesLike | None, int | None]:
        self.asked.append(f"get {key.id}")
        self.began.set()
        assert self.release.wait(TIMEOUT_S)
        return super().get_with_generation(key)

    def get(self, key: LocalKey) -> BytesLike | None:
        return self.get_with_generation(key)[0]

    def generation(self, key: LocalKey) -> int | None:
        self.asked.append(f"generation {key.id}")
        return super().generation(key)

    def get_batch(self, keys: Sequence[LocalKey]) -> list[BytesLike | None]:
        self.asked.append(f"batch {' '.join(key.id for key in keys)}")
        return [super(FarConnector, self).get_with_generation(key)[0] for key in keys]

    def took(self) -> list[str]:
        """The requests since the last call."""
        asked, self.asked = self.asked, []
        return asked


class FixedConnector(FarConnector):
    """The same, where nothing can be replaced."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities - {Capability.REPLACEABLE}


@pytest.fixture
def store() -> Iterator[Store[FarConnector]]:
    with Store("demo", FarConnector()) as made:
        yield made


def test_a_key_that_comes_twice_gives_two_arrays(store: Store[FarConnector]) -> None:
    (key,) = keys_of(store, a=np.zeros(3))
    first, second = store.get_batch([key, key])
    first += 1
    assert second.tolist() == [0.0, 0.0, 0.0]


def keys_of(store: Store[FarConnector], **objs: object) -> list[LocalKey]:
    keys = [store.connector.new_key(name) for name in objs]
    for key, obj in zip(keys, objs.values(), strict=True):
        store.connector.set(key, store._codec.dump(obj, None))
    return keys


def test_a_batch_is_one_request_and_nothing_else(store: Store[FarConnector]) -> None:
    keys = keys_of(store, a=1, b=2)
    assert store.get_batch([*keys, keys[0]]) == [1, 2, 1]
    assert store.connector.took() == ["batch a b"]


def test_what_comes_in_a_second_batch_is_cached_until_it_is_replaced(
    store: Store[FarConnector],
) -> None:
    keys = keys_of(store, a=1, b=2)
    store.get_batch(keys)
    store.connector.took()
    assert store.get_batch(keys) == [1, 2]
    assert store.connector.took() == ["generation a", "generation b", "batch a b"]
    assert store.get_batch(keys) == [1, 2]
    assert store.connector.took() == ["generation a", "generation b"]
    store.connector.replace(keys[1], store._codec.dump(3, None))
    assert store.get_batch(keys) == [1, 3]
    assert "batch b" in store.connector.took()


def test_what_cannot_be_replaced_is_cached_at_once() -> None:
    with Store("demo", FixedConnector()) as store:
        keys = keys_of(store, a=1, b=2)
        assert store.get_batch(keys) == store.get_batch(keys) == [1, 2]
        assert store.connector.took() == ["batch a b"]


def test_a_batch_without_anything_to_ask_asks_nothing(store: Store[FarConnector]) -> None:
    assert store.get_batch([]) == []
    assert store.connector.took() == []


def test_what_is_absent_stays_a_hole(store: Store[FarConnector]) -> None:
    (key,) = keys_of(store, a=1)
    gone = store.connector.new_key("gone")
    assert store.get_batch([gone, key, gone], default="-") == ["-", 1, "-"]
    (gone,) = keys_of(store, gone=2)
    assert store.get_batch([gone]) == [2]


@pytest.mark.parametrize("connector", [FarConnector, FixedConnector])
def test_a_batch_joins_whoever_is_getting_one_of_its_objects(
    connector: type[FarConnector],
) -> None:
    with Store("demo", connector()) as store, ThreadPoolExecutor(2) as threads:
        keys = keys_of(store, a=[1], b=[2])
        store.connector.release.clear()
        one = threads.submit(store.get, keys[0])
        assert store.connector.began.wait(TIMEOUT_S)
        batch = threads.submit(store.get_batch, keys)
        flight = store._flights._table[keys[0], None]
        while not flight.is_joined:
            time.sleep(0)
        store.connector.release.set()
        assert batch.result(TIMEOUT_S) == [[1], [2]]
        assert one.result(TIMEOUT_S) == [1]
        asked = [each for each in store.connector.took() if "generation" not in each]
        assert asked == ["get a", "batch b"]


def test_a_batch_and_a_get_do_not_share_what_can_be_written(
    store: Store[FarConnector],
) -> None:
    (key,) = keys_of(store, a=np.zeros(3))
    with ThreadPoolExecutor(2) as threads:
        store.connector.release.clear()
        one = threads.submit(store.get, key)
        assert store.connector.began.wait(TIMEOUT_S)
        batch = threads.submit(store.get_batch, [key])
        store.connector.release.set()
        (array,) = batch.result(TIMEOUT_S)
        array += 1
        assert one.result(TIMEOUT_S).sum() == 0


def test_a_batch_in_the_loop_whose_coroutine_gets_the_object_does_not_wait_for_it() -> None:
    class SlowConnector(FixedConnector):
        """Its coroutine takes for ever."""

        getting = asyncio.Event()

        @property
        def capabilities(self) -> frozenset[Capability]:
            return super().capabilities | {Capability.ASYNC}

        async def aget(self, key: LocalKey) -> BytesLike | None:
            self.getting.set()
            await asyncio.Event().wait()
            return None

    async def main(store: Store[SlowConnector]) -> None:
        keys = keys_of(store, a=1)
        task = asyncio.create_task(store.aget(keys[0]))
        await store.connector.getting.wait()
        assert store.get_batch(keys) == [1]
        task.cancel()

    with Store("demo", SlowConnector()) as store:
        asyncio.run(asyncio.wait_for(main(store), TIMEOUT_S))
