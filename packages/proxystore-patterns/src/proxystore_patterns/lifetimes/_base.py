"""What all lifetimes have: the keys they hold, and how those go."""

from __future__ import annotations

import logging
import threading
from collections.abc import Hashable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from proxystore.abc import Key
from proxystore.connectors.keys import expected_key, fresh_id
from proxystore.errors import (
    InvalidKeyError,
    MediumGoneError,
    ProxyStoreError,
    StoreClosedError,
)
from proxystore.host.forks import remake_in_child
from proxystore.proxy import Proxy
from proxystore.store import Store, get_key, get_store
from proxystore_patterns.errors import LifetimeEndedError
from proxystore_patterns.lifetimes._clock import CLOCK
from proxystore_patterns.lifetimes._ledger import LEDGER, Entry

__all__ = ["EvictingLifetime"]

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 30.0


# Any in this module: stores with whatever connectors, proxies of whatever objects.
class EvictingLifetime:
    """Holds keys, and evicts their objects when it ends. Thread safe.

    What it holds is noted in a ledger under the user's directory, so that
    ``proxystore-patterns leaks`` finds it should the process be killed (but not in the
    moment between storing an object and adding it). A forked child holds only what it adds.

    Args:
        store: Of keys that are added without one.
        name: For people to read.
        parent: Ends this lifetime when it ends, if that has not ended before.
    """

    def __init__(
        self,
        store: Store[Any] | None = None,
        *,
        name: str | None = None,
        parent: EvictingLifetime | None = None,
    ) -> None:
        self.name = f"{type(self).__name__}-{fresh_id()}" if name is None else name
        self._store, self._parent = store, parent
        self._ended = False
        self.remade_in_child()
        remake_in_child(self)
        if parent is not None:
            if not isinstance(parent, EvictingLifetime):
                raise TypeError(f"parent is another lifetime of this package, not {parent!r}.")
            parent._adopt(self)

    def remade_in_child(self) -> None:
        """Leave the parent process what it holds."""
        # Reentrant: a garbage collection may run a finalizer that comes here.
        self._lock = threading.RLock()
        self._held: dict[Store[Any], dict[Key, None]] = {}
        self._entries: list[Entry] = []
        self._children: dict[EvictingLifetime, None] = {}

    def add_key(self, *keys: Key, store: Store[Any] | None = None) -> None:
        """Evict ``keys`` when the lifetime ends.

        Args:
            keys: Whether or not they have objects yet.
            store: Of the keys; the default is that of the lifetime.

        Raises:
            LifetimeEndedError: It has ended. The keys were evicted.
            InvalidKeyError: One is no key of the store; none was added.
            ValueError: Neither the lifetime nor the call names a store.
        """
        chosen = store or self._store
        if chosen is None:
            raise ValueError(f"Pass store=: {self!r} has no store of its own for the keys.")
        _check_keys(chosen, keys)
        with self._lock:
            ended = self._ended
            if not ended:
                self._held.setdefault(chosen, {}).update(dict.fromkeys(keys))
        if ended:
            for key in keys:
                chosen.evict(key)
            raise LifetimeEndedError(self.name)
        self._secure(chosen, keys)

    def add_proxy(self, *proxies: Proxy[Any]) -> None:
        """Evict the objects of ``proxies`` when the lifetime ends.

        Raises:
            LifetimeEndedError: It has ended. The objects were evicted.
            ProxyStoreFactoryError: A proxy did not come from a store; none was added.
        """
        for key, store in [(get_key(proxy), get_store(proxy)) for proxy in proxies]:
            self.add_key(key, store=store)

    def done(self) -> bool:
        """Whether the lifetime has ended."""
        return self._ended

    def close(self, *, close_stores: bool = False) -> None:
        """End now: first the lifetimes inside, then what this one holds. Idempotent.

        Args:
            close_stores: Close the stores of what it held too.

        Raises:
            ConnectorUnavailableError: A medium could not be reached. What is there stays
                held, for another call, or ``proxystore-patterns leaks``.
        """
        with self._lock:
            self._ended = True
            children = list(self._children)
        errors = [error for child in children if (error := child._closed(close_stores))]
        with self._lock:
            held, self._held = self._held, {}
        for store, keys in held.items():
            error = self._evicted(store, keys)
            if error is not None:
                errors.append(error)
            elif close_stores:
                store.close()
        if errors:
            raise errors[0]
        self._erase()
        if self._parent is not None:
            self._parent._let_go(self)

    def end_quietly(self) -> None:
        """`close`, where nobody would hear of an error: it is logged, and tried again later."""
        try:
            self.close()
        except ProxyStoreError as error:
            _log.warning("%r could not evict what it held: %s", self, error)
            CLOCK.after(_RETRY_SECONDS, self.end_quietly, lane=self._lane())

    def _lane(self) -> Hashable:
        """With which other lifetimes this one may wait for a medium that hangs."""
        with self._lock:
            stores = tuple(self._held)
            is_simple = len(stores) == 1 and not self._children
        return stores[0] if is_simple else self

    def _closed(self, close_stores: bool) -> ProxyStoreError | None:  # noqa: FBT001
        try:
            self.close(close_stores=close_stores)
        except ProxyStoreError as error:
            return error
        return None

    def _evicted(self, store: Store[Any], keys: dict[Key, None]) -> ProxyStoreError | None:
        """Evict ``keys``, and give what went wrong. What may still be evicted is held again."""
        refused: ProxyStoreError | None = None
        for key in list(keys):
            try:
                # Where the medium is closed or gone there is nothing to evict.
                with suppress(MediumGoneError, StoreClosedError):
                    store.evict(key)
            except InvalidKeyError as error:
                # There is nothing under it, and what comes after it is not to wait for it.
                refused = error
            except ProxyStoreError as error:
                with self._lock:
                    self._held.setdefault(store, {}).update(keys)
                return error
            del keys[key]
        return refused

    def _secure(self, store: Store[Any], keys: Sequence[Key]) -> None:
        """See to it that ``keys`` are evicted even if this process is killed."""
        self._note(store, keys)

    def _note(self, store: Store[Any], keys: Sequence[Key], job: str | None = None) -> None:
        """Let others know what is held."""
        entry = LEDGER.note(self.name, store, keys, job=job) if keys else None
        if entry is None:
            return
        with self._lock:
            self._entries.append(entry)
            ended = self._ended and not self._held
        if ended:
            # It ended meanwhile, and took these along.
            self._erase()

    def _erase(self) -> None:
        with self._lock:
            entries, self._entries = self._entries, []
        LEDGER.erase(entries)

    def _adopt(self, child: EvictingLifetime) -> None:
        with self._lock:
            if self._ended:
                raise LifetimeEndedError(self.name)
            self._children[child] = None

    def _let_go(self, child: EvictingLifetime) -> None:
        with self._lock:
            self._children.pop(child, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}{' (ended)' if self._ended else ''}>"


def _check_keys(store: Store[Any], keys: Sequence[Key]) -> None:
    # Connectors of the older system do not say what their keys are.
    key_type = getattr(store.connector, "key_type", tuple)
    for key in keys:
        if not isinstance(key, key_type):
            raise InvalidKeyError(repr(key), expected_key(key_type))
