"""Proxies of objects in a store."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from types import NoneType
from typing import Any, TypeAlias, TypeVar, cast

from proxystore.abc import Key, Lifetime
from proxystore.errors import NonProxiableTypeError
from proxystore.payload import Payload, as_bytes, payload_nbytes
from proxystore.proxy import Proxy, ProxyLocker
from proxystore.store._deferred import DeferringStore
from proxystore.store._twins import in_background
from proxystore.store.factory import StoreFactory
from proxystore.store.inline import InlineFactory
from proxystore.store.types import ConnectorT, DeserializerT, SerializerT

__all__ = ["ProxyingStore"]

T = TypeVar("T")
_ProxyFactory: TypeAlias = StoreFactory[T] | InlineFactory[T]


# Any in this module: options of connectors.
class ProxyingStore(DeferringStore[ConnectorT]):
    """An object store that makes proxies of what it stores."""

    def proxy(
        self,
        obj: T,
        *,
        evict: bool = False,
        lifetime: Lifetime | None = None,
        serializer: SerializerT | None = None,
        deserializer: DeserializerT | None = None,
        populate_target: bool | None = None,
        skip_nonproxiable: bool = False,
        inline: bool = True,
        **kwargs: Any,
    ) -> Proxy[T]:
        """Store ``obj``, and give a proxy that gets it wherever it is used.

        Args:
            obj: Anything but `None` and `bool`, which no proxy can stand for.
            evict: Remove the object when a proxy of it is resolved first.
            lifetime: Evicts the object when it ends. Not with ``evict``.
            serializer: Used instead of the store's.
            deserializer: Used instead of the store's, wherever the proxy resolves.
            populate_target: Let this proxy hold ``obj`` itself, which its pickle
                does not; the default is the store's.
            skip_nonproxiable: Give `None` or a `bool` back as it is.
            inline: Whether it may travel in the proxy, in a store with ``inline_nbytes``. Who
                needs its key, or its end, says no.
            kwargs: Passed to the connector's `put`.

        Raises:
            NonProxiableTypeError: ``obj`` is `None` or a `bool`.
            ValueError: Both ``evict`` and ``lifetime``.
            SerializationError: Nothing can serialize the object.
            MediumFullError: There is no room. Nothing was stored.
        """
        _check_ending(lifetime, evict=evict)
        if not _is_proxiable(obj, skip=skip_nonproxiable):
            # Typed as a proxy for those who do not skip.
            unproxied: Proxy[T] = cast("Any", obj)
            return unproxied
        self._check_open()
        watch, put = self.watch("store.proxy"), self.watch("store.put")
        payload = self._codec.dump(obj, serializer)
        put.lap("serialize")
        if inline and self._travels_inline(payload, kwargs):
            carrying: InlineFactory[T] = self._inline(payload, deserializer)
            return self._holding(obj, carrying, populated=populate_target)
        key = self._put(payload, lifetime, kwargs, put)
        factory = StoreFactory[T](key, self, evict=evict, deserializer=deserializer)
        watch.stop(key)
        return self._holding(obj, factory, populated=populate_target)

    async def aproxy(
        self,
        obj: T,
        *,
        evict: bool = False,
        lifetime: Lifetime | None = None,
        serializer: SerializerT | None = None,
        deserializer: DeserializerT | None = None,
        populate_target: bool | None = None,
        skip_nonproxiable: bool = False,
        inline: bool = True,
        **kwargs: Any,
    ) -> Proxy[T]:
        """As `proxy`. Resolving the proxy blocks, whichever made it."""
        _check_ending(lifetime, evict=evict)
        if not _is_proxiable(obj, skip=skip_nonproxiable):
            unproxied: Proxy[T] = cast("Any", obj)
            return unproxied
        if inline and self.options.inline_nbytes:
            make = partial(
                self.proxy,
                obj,
                evict=evict,
                lifetime=lifetime,
                serializer=serializer,
                deserializer=deserializer,
                populate_target=populate_target,
                **kwargs,
            )
            return await in_background(make)
        watch = self.watch("store.proxy")
        key = await self.aput(obj, lifetime=lifetime, serializer=serializer, **kwargs)
        factory = StoreFactory[T](key, self, evict=evict, deserializer=deserializer)
        watch.stop(key)
        return self._holding(obj, factory, populated=populate_target)

    def proxy_batch(
        self,
        objs: Iterable[T],
        *,
        evict: bool = False,
        lifetime: Lifetime | None = None,
        serializer: SerializerT | None = None,
        deserializer: DeserializerT | None = None,
        populate_target: bool | None = None,
        skip_nonproxiable: bool = False,
        inline: bool = True,
        **kwargs: Any,
    ) -> list[Proxy[T]]:
        """Store the objects in one request, and give their proxies in order. See `proxy`."""
        _check_ending(lifetime, evict=evict)
        # Typed as proxies for those who do not skip.
        results: list[Any] = list(objs)
        places = [
            place
            for place, obj in enumerate(results)
            if _is_proxiable(obj, skip=skip_nonproxiable)
        ]
        self._check_open()
        watch, put = self.watch("store.proxy_batch"), self.watch("store.put_batch")
        payloads = {place: self._codec.dump(results[place], serializer) for place in places}
        put.lap("serialize")
        stored = [
            at for at in places if not (inline and self._travels_inline(payloads[at], kwargs))
        ]
        batch = [payloads[at] for at in stored]
        keys = self._put_batch(batch, lifetime, kwargs, put) if batch else []
        factories: dict[int, _ProxyFactory[T]] = {
            at: StoreFactory(key, self, evict=evict, deserializer=deserializer)
            for at, key in zip(stored, keys, strict=True)
        }
        for place in places:
            factory = factories.get(place) or self._inline(payloads[place], deserializer)
            results[place] = self._holding(
                results[place], factory, populated=populate_target
            )
        watch.stop(tuple(keys))
        return results

    def proxy_from_key(
        self,
        key: Key,
        *,
        evict: bool = False,
        lifetime: Lifetime | None = None,
        deserializer: DeserializerT | None = None,
    ) -> Proxy[Any]:
        """An unresolved proxy of the object of ``key``. Does not look whether there is one.

        Raises:
            ValueError: Both ``evict`` and ``lifetime``.
        """
        self._check_open()
        _check_ending(lifetime, evict=evict)
        self._added((key,), lifetime)
        return Proxy(StoreFactory(key, self, evict=evict, deserializer=deserializer))

    def locked_proxy(
        self, obj: T, *, skip_nonproxiable: bool = True, **kwargs: Any
    ) -> ProxyLocker[T] | T:
        """As `proxy`, in a locker that keeps it from being resolved by accident.

        Args:
            obj: See `proxy`.
            skip_nonproxiable: Give `None` or a `bool` back as it is.
            kwargs: As for `proxy`.
        """
        if not _is_proxiable(obj, skip=skip_nonproxiable):
            return obj
        return ProxyLocker(self.proxy(obj, **kwargs))

    def _travels_inline(self, payload: Payload, options: dict[str, Any]) -> bool:
        """Whether the object goes with its proxy: it is small, and nobody chose how to store it."""
        return payload_nbytes(payload) < self.options.inline_nbytes and not options

    def _inline(self, payload: Payload, deserializer: DeserializerT | None) -> InlineFactory[Any]:
        # The store's own too, for nobody opens the store to resolve this.
        loads = deserializer or self.options.deserializer
        return InlineFactory(as_bytes(payload), loads, readonly=self.options.readonly)

    def _holding(
        self, obj: T, factory: _ProxyFactory[T], *, populated: bool | None
    ) -> Proxy[T]:
        """A proxy of ``obj``, which holds it if that was asked for."""
        proxy: Proxy[T] = Proxy(factory, cache_defaults=True, target=obj)
        if not (self.options.populate_target if populated is None else populated):
            # Made with the target all the same, to record its class.
            factory.remember(obj)
            del cast("Any", proxy).__proxy_wrapped__
        return proxy


def _check_ending(lifetime: Lifetime | None, *, evict: bool) -> None:
    if evict and lifetime is not None:
        raise ValueError(
            "An object ends either with its first use (evict=True) or with a lifetime. "
            "Leave out one of the two."
        )


def _is_proxiable(obj: object, *, skip: bool) -> bool:
    if type(obj) not in {bool, NoneType}:
        return True
    if skip:
        return False
    raise NonProxiableTypeError(type(obj).__name__)
