"""What those who wait for a future do about a producer that died."""

from __future__ import annotations

from typing import Any

from proxystore.abc import Key
from proxystore.errors import KeyAlreadySetError
from proxystore.store import Store
from proxystore_patterns.errors import ProducerDiedError
from proxystore_patterns.futures._outcomes import failure, write
from proxystore_patterns.futures._producers import begun_key, has_died, producer_of

__all__ = ["LOOK_SECONDS", "bury"]

LOOK_SECONDS = 0.5
"""How often they look whether it lives."""


def bury(store: Store[Any], key: Key) -> None:
    """Let a future whose producer died fail, for everybody."""
    if has_died(store, key):
        error = ProducerDiedError(repr(key), store.name, producer_of(store, key))
        try:
            write(store, key, failure(error))
        except KeyAlreadySetError:
            # It was not dead, or somebody else saw it first.
            return
        store.evict(begun_key(store, key))
