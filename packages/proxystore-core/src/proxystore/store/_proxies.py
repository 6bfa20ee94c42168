"""Proxies of objects in a store."""

from __future__ import annotations

from collections.abc import Iterable
from types import NoneType
from typing import Any, TypeVar, cast

from proxystore.abc import Key, Lifetime
from proxystore.errors import NonProxiableTypeError
from proxystore.proxy import Proxy, ProxyLocker
from proxystore.store._twins import AsyncObjectStore
from proxystore.store.factory import StoreFactory
from proxystore.store.types import ConnectorT, DeserializerT, SerializerT

__all__ = ["ProxyingStore"]

T = TypeVar("T")


# Any in this module: options of connectors.
class ProxyingStore(AsyncObjectStore[ConnectorT]):
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
        watch = self.watch("store.proxy")
        key = self.put(obj, lifetime=lifetime, serializer=serializer, **kwargs)
        proxy = self._proxy(
            key, obj, evict=evict, deserializer=deserializer, populate_target=populate_target
        )
        watch.stop(key)
        return proxy

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
        **kwargs: Any,
    ) -> Proxy[T]:
        """As `proxy`. Resolving the proxy blocks, whichever made it."""
        _check_ending(lifetime, evict=evict)
        if not _is_proxiable(obj, skip=skip_nonproxiable):
            unproxied: Proxy[T] = cast("Any", obj)
            return unproxied
        watch = self.watch("store.proxy")
        key = await self.aput(obj, lifetime=lifetime, serializer=serializer, **kwargs)
        proxy = self._proxy(
            key, obj, evict=evict, deserializer=deserializer, populate_target=populate_target
        )
        watch.stop(key)
        return proxy

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
        watch = self.watch("store.proxy_batch")
        stored = [results[place] for place in places]
        keys = self.put_batch(stored, lifetime=lifetime, serializer=serializer, **kwargs)
        for place, key, obj in zip(places, keys, stored, strict=True):
            results[place] = self._proxy(
                key, obj, evict=evict, deserializer=deserializer, populate_target=populate_target
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

    def _proxy(
        self,
        key: Key,
        obj: T,
        *,
        evict: bool,
        deserializer: DeserializerT | None,
        populate_target: bool | None,
    ) -> Proxy[T]:
        factory: StoreFactory[T] = StoreFactory(
            key, self, evict=evict, deserializer=deserializer
        )
        proxy: Proxy[T] = Proxy(factory, cache_defaults=True, target=obj)
        if not (self.options.populate_target if populate_target is None else populate_target):
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
