"""The stores of this process, found by identity, address and name."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from proxystore.errors import StoreExistsError, StoreNotRegisteredError
from proxystore.host.forks import remake_in_child
from proxystore.store._flight import Flights
from proxystore.store.reference import StoreReference, address_key

__all__ = ["STORES", "Registry"]


class _Registrable(Protocol):
    """What the registry needs to know of a store."""

    @property
    def name(self) -> str: ...
    @property
    def identity(self) -> str: ...
    @property
    def reference(self) -> StoreReference: ...
    def close(self, *, clear: bool | None = None) -> None: ...


StoreT = TypeVar("StoreT", bound=_Registrable)

_MAX_OPENED = 64


class Registry(Generic[StoreT]):
    """A table of open stores. Thread safe, and usable in a forked child.

    A store is in the table, weakly, from when it is made until it is closed.
    One that was registered is kept; so are the 64 used last of those opened for
    proxies, for each holds a descriptor or a connection, and a worker that
    lives long meets a new store with every client.
    """

    opener: Callable[[StoreReference], StoreT]
    """Opens a store that is not in the table; set by the module that defines stores."""

    def __init__(self) -> None:
        self._opening: Flights[StoreT] = Flights()
        self.reset()
        remake_in_child(self)

    def reset(self) -> None:
        """Forget all stores, without closing them. For tests."""
        # Reentrant: a garbage collection can run a finalizer that uses a proxy, and so
        # this table, in the midst of any method here.
        self._lock = threading.RLock()
        self._at: weakref.WeakValueDictionary[str, StoreT] = weakref.WeakValueDictionary()
        """By address."""
        self._open: weakref.WeakValueDictionary[str, StoreT] = weakref.WeakValueDictionary()
        """By identity, as the next two."""
        self._kept: dict[str, StoreT] = {}
        self._opened: OrderedDict[str, StoreT] = OrderedDict()
        self._named: dict[str, StoreT] = {}
        self._unnamed: weakref.WeakSet[StoreT] = weakref.WeakSet()

    def remade_in_child(self) -> None:
        """Make the lock anew; the stores remain."""
        self._lock = threading.RLock()

    def add(self, store: StoreT) -> None:
        """Enter a store that was just made, unless one of its identity is here."""
        with self._lock:
            first = self._open.setdefault(store.identity, store)
            self._at[address_key(store.reference.address)] = first

    def remove(self, store: StoreT) -> None:
        """Forget a store that is being closed."""
        self.unregister(store)
        with self._lock:
            self._forget(store)

    def forget_opened(self, store: StoreT) -> None:
        """Forget a store whose medium is gone, if it was opened for a proxy and not registered."""
        with self._lock:
            opened = self._opened.get(store.identity) is store
            if opened and self._kept.get(store.identity) is not store:
                self._forget(store)

    def _forget(self, store: StoreT) -> None:
        for table in (self._open, self._kept, self._opened):
            if table.get(store.identity) is store:
                del table[store.identity]
        for address, other in list(self._at.items()):
            if other is store:
                del self._at[address]

    def register(self, store: StoreT, *, exist_ok: bool = False) -> None:
        """Let ``store`` answer to its name and identity, and keep it.

        Raises:
            StoreExistsError: A store of another identity is registered under
                the name, and not ``exist_ok``.
        """
        with self._lock:
            other = self._named.get(store.name)
            if other is not None and other.identity != store.identity and not exist_ok:
                raise StoreExistsError(store.name)
            self._at[address_key(store.reference.address)] = store
            self._open[store.identity] = self._kept[store.identity] = store
            self._named[store.name] = store
            self._unnamed.discard(store)

    def unregister(self, name_or_store: str | StoreT) -> None:
        """Let a store no longer answer to its name. Does nothing if none does."""
        with self._lock:
            if isinstance(name_or_store, str):
                store = self._named.get(name_or_store)
            else:
                store = name_or_store
            if store is None:
                return
            if self._named.get(store.name) is store:
                del self._named[store.name]
                self._kept.pop(store.identity, None)
            self._unnamed.add(store)

    def find(self, name_or_identity: str) -> StoreT | None:
        """The store registered under a name, or of an identity, or the only one of a name.

        Raises:
            StoreNotRegisteredError: Several open stores have the name, and none
                of them is registered.
        """
        with self._lock:
            found = self._named.get(name_or_identity) or self._open.get(name_or_identity)
            if found is not None:
                return found
            matches = [
                store
                for store in self._open.values()
                if store.name == name_or_identity and store not in self._unnamed
            ]
        if len(matches) > 1:
            raise StoreNotRegisteredError(name_or_identity, matches=len(matches))
        return matches[0] if matches else None

    def obtain(self, reference: StoreReference) -> StoreT:
        """The store at an address, opened and kept for a while if it is not here yet.

        Those who ask for one address at the same time share one opening.
        """
        key = address_key(reference.address)
        return self._used(key) or self._opening.run(key, lambda: self._open_at(key, reference))

    def _used(self, key: str) -> StoreT | None:
        with self._lock:
            store = self._at.get(key)
            if store is not None and store.identity in self._opened:
                self._opened.move_to_end(store.identity)
            return store

    def _open_at(self, key: str, reference: StoreReference) -> StoreT:
        # Again: another opening may have ended since the caller looked.
        here = self._used(key)
        if here is not None:
            return here
        opened = self.opener(reference)
        dropped: list[StoreT] = []
        with self._lock:
            self._at[key] = store = self._open.setdefault(opened.identity, opened)
            if store is opened:
                self._opened[store.identity] = store
            while len(self._opened) > _MAX_OPENED:
                dropped.append(self._opened.popitem(last=False)[1])
        # Outside of the lock: the last reference to a store may end connections.
        del dropped
        if store is not opened:
            # This address leads to a store that is here by another one.
            opened.close(clear=False)
        return store


# Any: the class of stores is defined above this module.
STORES: Registry[Any] = Registry()
"""The stores of this process."""
