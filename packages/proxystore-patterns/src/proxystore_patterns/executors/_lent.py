"""Proxies that are good for one task, and what becomes of them when they leave it."""

from __future__ import annotations

import copy
import weakref
from typing import Any

from proxystore.abc import Key
from proxystore.factory import SimpleFactory
from proxystore.proxy import Proxy, extract, get_factory, is_resolved
from proxystore.store import Store, StoreFactory
from proxystore.store.reference import StoreReference

__all__ = ["Lent", "arrive", "lend", "returned", "settle"]


# Any in this module: arguments and results of tasks, stores with whatever connectors.
class Lent(StoreFactory[Any]):
    """Gets an object that somebody evicts as soon as a task ends, or its result is dropped.

    In a task it is bound to its proxy, which from then on is pickled with the object in it:
    the function may have changed that, or keep it in its result for longer.
    """

    _proxy: weakref.ref[Any] | None = None

    def resolve(self) -> Any:
        """The object, which nobody else in this process has, and no cache keeps for longer."""
        cache = self.get_store().cache
        cache.evict(self.key)
        target = super().resolve()
        cache.evict(self.key)
        return target

    def bind(self, proxy: Proxy[Any]) -> None:
        """``proxy``, of this factory, is in a task."""
        self._proxy = weakref.ref(proxy)

    def __reduce__(self) -> tuple[object, ...]:
        proxy = None if self._proxy is None else self._proxy()
        if proxy is not None:
            return SimpleFactory, (extract(proxy),)
        store = self.get_store()
        address, name, options = store.reference
        return _open, (address, store.plain_key(self.key), name, dict(options))


def _open(address: Any, key: Any, name: str, options: dict[str, Any]) -> Lent:
    return Lent(key, StoreReference(address, name, options))


def lend(store: Store[Any], key: Key, like: Proxy[Any] | None = None, target: Any = None) -> Any:
    """A proxy of an object, for one task.

    Args:
        store: That has it.
        key: Of it.
        like: A proxy of it, from which the class on record is taken.
        target: The object; makes the proxy resolved.
    """
    # Any: the type checker does not know of recorded classes.
    proxy: Any = Proxy(Lent(key, store), cache_defaults=target is not None, target=target)
    recorded = getattr(like, "__proxy_recorded_class__", None) if like is not None else None
    if recorded is not None:
        proxy.__proxy_recorded_class__ = recorded
    return proxy


def arrive(proxy: Proxy[Any]) -> Proxy[Any]:
    """What a function gets for ``proxy``, which came with its task.

    Another one: the engine keeps its own for as long as it likes, and the object with it.
    """
    factory = get_factory(proxy)
    if isinstance(factory, Lent):
        if not is_resolved(proxy):
            proxy = copy.copy(proxy)
        factory.bind(proxy)
    return proxy


def settle(proxies: list[weakref.ref[Proxy[Any]]]) -> None:
    """The function has returned: of ``proxies`` it keeps those that are alive.

    Their objects go with the task, so they get them now.
    """
    for reference in proxies:
        proxy = reference()
        if proxy is not None and not is_resolved(proxy):
            extract(proxy)


def returned(proxy: Proxy[Any]) -> Any:
    """``proxy``, or what it stands for: what a task gives, or passes on, must outlive it."""
    return extract(proxy) if isinstance(get_factory(proxy), Lent) else proxy
