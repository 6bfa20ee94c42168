"""Many proxies resolved at once, before they are used."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable
from contextlib import suppress
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from proxystore.errors import ProxyResolveError, SerializationError
from proxystore.proxy import Proxy, get_factory, is_resolved, resolve, resolve_async
from proxystore.proxy._once import run_once
from proxystore.store.factory import StoreFactory

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["prefetch"]

_MISSING = object()


# Any in this module: proxies of any target.
def prefetch(proxies: Iterable[Proxy[Any]]) -> Future[None]:
    """Begin to resolve ``proxies`` in background threads, those of one store by one request.

    Returns at once. A proxy that is used before its request was answered is resolved
    then and there, as if nobody had asked for it: it waits for no other. Nothing is
    raised here for an object that cannot be got: its proxy stays unresolved, and its use
    says why. Of several proxies of one object the first goes with the others of its store, and
    the rest after it. Proxies of other factories than a store's are resolved as by `resolve_async`.

    The threads, 16 at most, are those of `resolve_async`, and never keep the interpreter
    from exiting. In a child that is forked meanwhile the future never completes, while the proxies
    can be used.

    Returns:
        A future that completes when there is nothing more to be done for any of the proxies,
        and never raises. In a coroutine: ``await asyncio.wrap_future(prefetch(proxies))``.

    Raises:
        TypeError: One of ``proxies`` is no proxy. Nothing was begun.
    """
    # Imported here: it costs several milliseconds, and few programs need it.
    from proxystore.proxy._background import in_background

    batches, rest = _sorted(proxies)
    begun: list[Future[Any]] = [in_background(partial(_resolve, batch)) for batch in batches]
    begun += [resolve_async(proxy) for proxy in rest]
    return _all_of(begun)


def _sorted(proxies: Iterable[Proxy[Any]]) -> tuple[list[list[Proxy[Any]]], list[Proxy[Any]]]:
    """Those that a store can get together, and all others that are not resolved."""
    together: dict[Hashable, list[Proxy[Any]]] = {}
    rest: list[Proxy[Any]] = []
    for proxy in [each for each in proxies if not is_resolved(each)]:
        factory = get_factory(proxy)
        if isinstance(factory, StoreFactory):
            # Each by its own store, which others of the same medium may read otherwise.
            kind = factory.source, id(factory.deserializer)
            together.setdefault(kind, []).append(proxy)
        else:
            rest.append(proxy)
    return list(together.values()), rest


def _resolve(proxies: list[Proxy[Any]]) -> None:
    by_key: dict[Hashable, list[Proxy[Any]]] = {}
    for proxy in proxies:
        by_key.setdefault(_factory(proxy).key, []).append(proxy)
    # One of each object at a time, for two must not share what the other may write to.
    for turn in zip_longest(*by_key.values()):
        _resolve_together([proxy for proxy in turn if proxy is not None])


def _resolve_together(proxies: list[Proxy[Any]]) -> None:
    store, deserializer = _factory(proxies[0]).get_store(), _factory(proxies[0]).deserializer
    keys = [_factory(each).key for each in proxies]
    try:
        found = store.get_batch(keys, deserializer=deserializer, default=_MISSING)
    except SerializationError:
        # Of one of them, which must not keep the others from being resolved.
        for proxy in proxies:
            with suppress(ProxyResolveError):
                resolve(proxy)
        return
    for proxy, obj in zip(proxies, found, strict=True):
        if obj is not _MISSING:
            _give(proxy, obj)


def _give(proxy: Proxy[Any], obj: Any) -> None:
    """Resolve ``proxy`` with ``obj``, unless its use has done so, and end as its factory would."""
    factory = _factory(proxy)

    def take() -> Any:
        if factory.evict:
            factory.get_store().evict(factory.key)
        return obj

    # What cannot be evicted now is not resolved: its use tries again, and says why.
    with suppress(ProxyResolveError):
        run_once(proxy, take, is_resolved, _accept)


def _accept(proxy: Any, target: Any) -> None:
    proxy.__proxy_wrapped__ = target


def _factory(proxy: Proxy[Any]) -> StoreFactory[Any]:
    factory: Any = get_factory(proxy)
    return factory  # type: ignore[no-any-return]


def _all_of(futures: list[Future[Any]]) -> Future[None]:
    """A future that completes with the last of ``futures``, whatever comes of them."""
    from concurrent.futures import Future

    all_done: Future[None] = Future()
    lock, n_begun = threading.Lock(), len(futures)

    def ended(_: Future[Any]) -> None:
        nonlocal n_begun
        with lock:
            n_begun -= 1
            is_last = n_begun == 0
        if is_last:
            all_done.set_result(None)

    for future in futures:
        future.add_done_callback(ended)
    if not futures:
        all_done.set_result(None)
    return all_done
