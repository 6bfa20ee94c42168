"""Large objects inside pickles that somebody passes on, and who passes on does not open."""

from __future__ import annotations

import contextlib
import weakref
from concurrent.futures import Future
from typing import Any

import cloudpickle

from proxystore.errors import ObjectNotFoundError, ProxyStoreError
from proxystore.proxy import Proxy
from proxystore.store import Store
from proxystore_patterns.executors._frames import Route
from proxystore_patterns.executors._futures import unsendable
from proxystore_patterns.executors._policy import approximate_nbytes

__all__ = ["Parcel", "ParcelPickler", "ProxyPickler", "keep_parcels", "open_parcels"]

_roles: set[str] = set()


def keep_parcels() -> None:
    """This process passes parcels on: here they are not opened."""
    _roles.add("keeps")


def open_parcels() -> None:
    """This process uses what is in parcels, whatever else it does."""
    _roles.add("opens")


# Any in this module: objects of every type, stores with whatever connectors.
class Parcel:
    """Stands for a large object where that is only passed on. Owns it there.

    Args:
        route: By which it came.
        key: Of the object, plain.
    """

    def __init__(self, route: Route, key: Any) -> None:
        self._route, self._key = route, key
        store = route.store()
        # On its way it had a lease, for it might have been lost.
        store.touch(store.make_key(key), None)
        weakref.finalize(self, _evict, store, key).atexit = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (self._route, self._key)


class ProxyPickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles proxies without resolving them, which ``cloudpickle`` does; and no futures."""

    def reducer_override(self, obj: Any) -> Any:
        """As of `pickle.Pickler`."""
        if type(obj) is Future:
            raise unsendable()
        return NotImplemented if issubclass(type(obj), Proxy) else super().reducer_override(obj)


class ParcelPickler(ProxyPickler):
    """Pickles, with parcels in place of large arrays, tables, tensors and the like.

    Text, bytes and containers are pickled as they are.

    Args:
        file: As for `pickle.Pickler`.
        route: By which large objects go.
        options: As for ``cloudpickle.Pickler``.
    """

    def __init__(self, file: Any, route: Route, **options: Any) -> None:
        super().__init__(file, **options)
        self._route = route

    def reducer_override(self, obj: Any) -> Any:
        """As of `pickle.Pickler`."""
        if self._is_large(obj):
            store = self._route.store()
            key = store.put(obj, ttl=self._route.lease)
            return _received, (self._route, store.plain_key(key))
        return super().reducer_override(obj)

    def _is_large(self, obj: Any) -> bool:
        if isinstance(obj, (Proxy, type, Parcel)):
            return False
        # Its graphs and tasks say how large what they hold is; schedulers look into them.
        if type(obj).__module__.partition(".")[0] in {"dask", "distributed"}:
            return False
        return approximate_nbytes(obj) >= self._route.min_nbytes


def _received(route: Route, key: Any) -> Any:
    return Parcel(route, key) if _roles == {"keeps"} else _opened(route.store(), key)


def _opened(store: Store[Any], plain_key: Any) -> Any:
    key = store.make_key(plain_key)
    missing = object()
    obj = store.get(key, default=missing)
    # Each task may change what it gets.
    store.cache.evict(key)
    if obj is missing:
        name = type(store.connector).__name__
        raise ObjectNotFoundError(repr(key), name, store.name, evicting=False)
    return obj


def _evict(store: Store[Any], plain_key: Any) -> None:
    with contextlib.suppress(ProxyStoreError):
        store.evict(store.make_key(plain_key))
