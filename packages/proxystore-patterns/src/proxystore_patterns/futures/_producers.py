"""How the producer of a future shows that it lives, and how others see that it does not.

A producer leaves two marks beside the key of the future: that it began, which stays, and that
it lives, which the medium ends unless it is renewed. One without the other is a death.
"""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import blake2b
from typing import Any

from proxystore.abc import Capability, Key
from proxystore.errors import CapabilityError, KeyAlreadySetError
from proxystore.host.node import this_node
from proxystore.store import Store
from proxystore_patterns._options import checked_seconds
from proxystore_patterns.lifetimes._renewal import Renewal

__all__ = ["Lease", "begun_key", "has_begun", "has_died", "producer_of"]


def begun_key(store: Store[Any], key: Key) -> Key:
    """Of the mark that somebody began to produce the result of the future ``key``."""
    return _side_key(store, key, "begun")


def _side_key(store: Store[Any], key: Key, mark: str) -> Key:
    name = repr(store.plain_key(key)).encode()
    return store.new_key(f"{blake2b(name, digest_size=16).hexdigest()}-{mark}")


def has_begun(store: Store[Any], key: Key) -> bool:
    """Whether a producer said that it had begun, and did not end since."""
    return Capability.LEASABLE in store.capabilities and store.exists(begun_key(store, key))


def has_died(store: Store[Any], key: Key) -> bool:
    """Whether a producer began, is not heard of any more, and left no outcome."""
    return (
        has_begun(store, key)
        and not store.exists(_side_key(store, key, "alive"))
        # Last: one that ends sets the outcome before it removes its marks.
        and not store.exists(key)
    )


def producer_of(store: Store[Any], key: Key) -> str:
    """Which process began last, as it said itself."""
    return str(store.get(begun_key(store, key), default="a process that is not known"))


class Lease:
    """The marks of this process as the producer of one future. Thread safe.

    Args:
        store: Of the future.
        key: Of the future.
        ttl: Seconds that the producer counts as alive after each renewal, of which
            there are three in that time.

    Raises:
        CapabilityError: The store's medium cannot end a mark by itself.
    """

    def __init__(self, store: Store[Any], key: Key, ttl: float) -> None:
        if Capability.LEASABLE not in store.capabilities:
            connector = type(store.connector).__name__
            raise CapabilityError("Future.producing()", connector, Capability.LEASABLE.value)
        self._store, self._ttl = store, checked_seconds("Future.producing(lease=)", ttl)
        self._begun, self._alive = begun_key(store, key), _side_key(store, key, "alive")
        self._me = f"process {os.getpid()} on host {this_node().host}"
        self._renewal: Renewal | None = None

    def begin(self) -> None:
        """Leave the marks. Those of another producer, which may be dead, become ours."""
        self._renew()
        try:
            self._store.set(self._begun, self._me)
        except KeyAlreadySetError:
            if Capability.REPLACEABLE in self._store.capabilities:
                self._store.replace(self._begun, self._me)
        self._renewal = Renewal(self._ttl, self._renew, lane=self._store)

    def end(self, *, keep_begun: bool = False) -> None:
        """Remove the marks, of a future that has an outcome.

        Args:
            keep_begun: It has none, and will get none from here: let those who wait see that.
        """
        if self._renewal is not None:
            self._renewal.end()
        if not keep_begun:
            self._store.evict(self._begun)
        self._store.evict(self._alive)

    def _renew(self) -> bool:
        if not self._store.touch(self._alive, self._ttl):
            # Somebody else may be as quick, whose mark is as good.
            with suppress(KeyAlreadySetError):
                self._store.set(self._alive, self._me, ttl=self._ttl)
        return True
