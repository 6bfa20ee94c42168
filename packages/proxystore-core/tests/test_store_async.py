"""The coroutines of a store."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from proxystore.abc import Acknowledgement, Capability, Connector, Medium
from proxystore.connectors.local import LocalConnector, LocalKey
from proxystore.errors import NonProxiableTypeError, StoreClosedError
from proxystore.payload import BytesLike, Payload, as_bytes
from proxystore.store import Store

TIMEOUT_S = 20


class NativeConnector(Connector[LocalKey]):
    """Has coroutines; each get waits until `release` is set, and counts."""

    key_type = LocalKey

    def __init__(self) -> None:
        self.objects: dict[LocalKey, bytes] = {}
        self.ids = itertools.count()
        self.gets = 0
        self.used: list[str] = []
        self.started = threading.Event()
        self.release = threading.Event()

    async def aput(self, payload: Payload) -> LocalKey:
        self.used.append("aput")
        return self.put(payload)

    async def aget(self, key: LocalKey) -> BytesLike | None:
        self.used.append("aget")
        self.gets += 1
        self.started.set()
        await asyncio.to_thread(self.release.wait, TIMEOUT_S)
        return self.objects.get(key)

    async def aexists(self, key: LocalKey) -> bool:
        self.used.append("aexists")
        return self.exists(key)

    async def aevict(self, key: LocalKey) -> None:
        self.used.append("aevict")
        self.evict(key)

    def put(self, payload: Payload) -> LocalKey:
        key = LocalKey(str(next(self.ids)))
        self.objects[key] = as_bytes(payload)
        return key

    def get(self, key: LocalKey) -> BytesLike | None:
        self.gets += 1
        self.started.set()
        assert self.release.wait(TIMEOUT_S)
        return self.objects.get(key)

    def exists(self, key: LocalKey) -> bool:
        return key in self.objects

    def evict(self, key: LocalKey) -> None:
        self.objects.pop(key, None)

    def config(self) -> dict[str, Any]:
        return {"id": id(self)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> NativeConnector:
        return cls()

    def close(self, *, clear: bool | None = None) -> None: ...

    @property
    def medium(self) -> Medium:
        return Medium.NETWORK

    @property
    def acknowledges(self) -> Acknowledgement:
        return Acknowledgement.MEMORY


class BlockingConnector(NativeConnector):
    """The same without coroutines."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset()


def released(cls: type[NativeConnector]) -> NativeConnector:
    connector = cls()
    connector.release.set()
    return connector


@pytest.fixture(params=[LocalConnector, NativeConnector, BlockingConnector])
def store(request: pytest.FixtureRequest) -> Iterator[Store[Any]]:
    cls = request.param
    with Store("demo", cls() if cls is LocalConnector else released(cls)) as made:
        yield made


def test_every_method_has_a_twin_that_does_the_same(store: Store[Any]) -> None:
    async def main() -> None:
        key = await store.aput({"a": 1})
        assert await store.aget(key) == {"a": 1}
        assert await store.aexists(key)
        await store.aevict(key)
        assert not await store.aexists(key)
        assert await store.aget(key, default="absent") == "absent"
        keys = await store.aput_batch(["b", "c"])
        assert await store.aget_batch([*keys, key], default="-") == ["b", "c", "-"]
        proxy = await store.aproxy([1], populate_target=False)
        assert await asyncio.to_thread(len, proxy) == 1
        assert await store.aproxy(None, skip_nonproxiable=True) is None
        with pytest.raises(NonProxiableTypeError):
            await store.aproxy(None)

    asyncio.run(main())


def test_coroutines_of_the_connector_are_used_where_there_are_any() -> None:
    connector = released(NativeConnector)

    async def main() -> None:
        with Store("demo", connector) as store:
            key = await store.aput(1)
            await store.aexists(key)
            await store.aget(key)
            await store.aevict(key)

    asyncio.run(main())
    assert connector.used == ["aput", "aexists", "aget", "aevict"]


def test_twins_of_a_closed_store_say_so(store: Store[Any]) -> None:
    key = store.put(1)
    store.close()
    for use in (store.aget, store.aexists, store.aevict, store.aput, store.aproxy):
        with pytest.raises(StoreClosedError):
            asyncio.run(use(key))


@pytest.mark.parametrize("cls", [NativeConnector, BlockingConnector])
def test_coroutines_that_get_one_object_share_the_request(cls: type[NativeConnector]) -> None:
    connector = cls()

    async def main() -> list[Any]:
        with Store("demo", connector) as store:
            key = store.put([1])
            gets = [asyncio.create_task(store.aget(key)) for _ in range(50)]
            await asyncio.to_thread(connector.started.wait, TIMEOUT_S)
            connector.release.set()
            return await asyncio.gather(*gets)

    objects = asyncio.run(main())
    assert connector.gets == 1
    assert all(obj is objects[0] for obj in objects)


@pytest.mark.parametrize("cls", [NativeConnector, BlockingConnector])
def test_a_coroutine_joins_the_request_of_a_thread(cls: type[NativeConnector]) -> None:
    connector = cls()

    async def main() -> tuple[Any, Any]:
        with Store("demo", connector) as store, ThreadPoolExecutor(1) as pool:
            key = store.put([1])
            thread = pool.submit(store.get, key)
            assert connector.started.wait(TIMEOUT_S)
            mine = asyncio.create_task(store.aget(key))
            await asyncio.sleep(0)
            connector.release.set()
            return await mine, thread.result(TIMEOUT_S)

    mine, other = asyncio.run(main())
    assert (mine is other, connector.gets) == (True, 1)


@pytest.mark.parametrize("cls", [NativeConnector, BlockingConnector])
def test_cancelling_the_first_who_asked_takes_nothing_from_the_others(
    cls: type[NativeConnector],
) -> None:
    connector = cls()

    async def main() -> Any:
        with Store("demo", connector) as store:
            key = store.put("x")
            first = asyncio.create_task(store.aget(key))
            await asyncio.to_thread(connector.started.wait, TIMEOUT_S)
            second = asyncio.create_task(store.aget(key))
            await asyncio.sleep(0)
            first.cancel()
            connector.release.set()
            return await asyncio.wait_for(second, TIMEOUT_S)

    assert asyncio.run(main()) == "x"


def test_two_event_loops_use_one_store() -> None:
    with Store("demo", released(BlockingConnector)) as store:
        key = store.put("x")

        def in_a_loop(_: int) -> Any:
            return asyncio.run(store.aget(key))

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(in_a_loop, range(16))) == ["x"] * 16


@pytest.mark.slow
def test_a_medium_that_never_answers_does_not_keep_the_interpreter(run_python: Any) -> None:
    code = """
import asyncio, threading
from proxystore.connectors.local import LocalConnector
from proxystore.store import Store

class Dead(LocalConnector):
    def exists(self, key):
        threading.Event().wait()

async def main():
    store = Store("demo", Dead())
    task = asyncio.create_task(store.aexists(store.put(1)))
    done, _ = await asyncio.wait([task], timeout=0.01)
    return len(done)

result = asyncio.run(main())
"""
    assert run_python(code) == 0
