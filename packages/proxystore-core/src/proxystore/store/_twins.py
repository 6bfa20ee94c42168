"""The coroutines of a store, beside the methods that block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from proxystore.abc import Capability, Key, Lifetime
from proxystore.payload import payload_nbytes
from proxystore.store._batches import BatchStore
from proxystore.store._objects import MISSING, UNKNOWN, Landed
from proxystore.store.types import ConnectorT, DeserializerT, SerializerT

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["AsyncObjectStore", "in_background"]

T = TypeVar("T")


# Any in this module: objects of every type, and options of connectors.
class AsyncObjectStore(BatchStore[ConnectorT]):
    """An object store with coroutines too.

    They use those of the connector if it has any (`Capability.ASYNC`), else a
    few threads that all stores share. Each raises what the method without the
    ``a`` raises. Cancelling one takes nothing from others who wait for the
    same object.
    """

    async def aput(
        self,
        obj: Any,
        *,
        lifetime: Lifetime | None = None,
        serializer: SerializerT | None = None,
        **kwargs: Any,
    ) -> Key:
        """As `put`."""
        if not self._is_async:
            return await in_background(
                partial(self.put, obj, lifetime=lifetime, serializer=serializer, **kwargs)
            )
        self._check_open()
        watch = self.watch("store.put")
        payload = self._codec.dump(obj, serializer)
        watch.lap("serialize")
        key: Key = await self._native.aput(payload, **kwargs)
        watch.lap("connector")
        self._added((key,), lifetime)
        watch.note("object_size", payload_nbytes(payload))
        watch.stop(key)
        return key

    async def aput_batch(
        self,
        objs: Iterable[Any],
        *,
        lifetime: Lifetime | None = None,
        serializer: SerializerT | None = None,
        **kwargs: Any,
    ) -> list[Key]:
        """As `put_batch`."""
        put = partial(self.put_batch, objs, lifetime=lifetime, serializer=serializer, **kwargs)
        return await in_background(put)

    async def aget(
        self, key: Key, *, deserializer: DeserializerT | None = None, default: Any = None
    ) -> Any:
        """As `get`."""
        self._check_open()
        watch = self.watch("store.get")
        if self._lacks(key):
            found = MISSING
        elif self._replaceable is None:
            found = self._cached(key, deserializer)
        else:
            # It asks the medium, for which an event loop must not wait.
            found = await in_background(partial(self._cached, key, deserializer))
        watch.count("cache_misses" if found is MISSING else "cache_hits")
        if found is MISSING:
            found = await self._afetched(key, deserializer)
        watch.stop(key)
        return default if found is MISSING else found

    async def aget_batch(
        self,
        keys: Sequence[Key],
        *,
        deserializer: DeserializerT | None = None,
        default: Any = None,
    ) -> list[Any]:
        """As `get_batch`."""
        get = partial(self.get_batch, keys, deserializer=deserializer, default=default)
        return await in_background(get)

    async def aexists(self, key: Key) -> bool:
        """As `exists`."""
        if not self._is_async:
            return await in_background(partial(self.exists, key))
        self._check_open()
        if self._replaceable is None and self.cache.exists(key):
            return True
        return bool(await self._native.aexists(key))

    async def aevict(self, key: Key) -> None:
        """As `evict`."""
        if not self._is_async:
            await in_background(partial(self.evict, key))
            return
        self._check_open()
        await self._native.aevict(key)
        self.cache.evict(key)

    @property
    def _is_async(self) -> bool:
        return Capability.ASYNC in self._capabilities

    @property
    def _native(self) -> Any:
        return self._connector

    async def _afetched(self, key: Key, deserializer: DeserializerT | None) -> Any:
        flight, found = (key, deserializer), UNKNOWN
        while found is UNKNOWN:
            own: list[Any] = []
            if self._is_async:
                aload = partial(self._aload, key, deserializer, own)
                landed = await self._flights.arun(flight, aload)
            else:
                load = partial(self._load, key, deserializer, own)
                landed = await self._flights.arun_elsewhere(flight, load, _submit)
            found = own[0] if own else await self._ajoined(key, deserializer, landed)
        return found

    async def _ajoined(self, key: Key, deserializer: DeserializerT | None, landed: Landed) -> Any:
        return await in_background(partial(self._joined, key, deserializer, landed))

    async def _aload(self, key: Key, deserializer: DeserializerT | None, own: list[Any]) -> Landed:
        generation = None
        if self._replaceable is not None:
            generation = await in_background(partial(self._replaceable.generation, key))
        watch = self.watch("store.get")
        data = await self._native.aget(key)
        seal = partial(self._flights.seal, (key, deserializer))
        obj, others = self._loaded(key, data, (deserializer, generation), seal, watch)
        own.append(obj)
        return others, generation


async def in_background(call: Callable[[], T]) -> T:
    """The result of ``call``, made on one of the threads that all stores share."""
    import asyncio

    return await asyncio.wrap_future(_submit(call))


def _submit(call: Callable[[], T]) -> Future[T]:
    # Imported here: programs without coroutines do without its 10 ms.
    from proxystore.proxy import _background

    return _background.in_background(call)
