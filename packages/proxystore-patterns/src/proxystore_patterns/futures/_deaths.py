"""What those who wait for a future do about a producer that died."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from proxystore.abc import Key
from proxystore.errors import KeyAlreadySetError
from proxystore.store import Store
from proxystore_patterns.errors import LifetimeEndedError, ProducerDiedError
from proxystore_patterns.futures._late import settle
from proxystore_patterns.futures._outcomes import failure
from proxystore_patterns.futures._producers import begun_key, has_died, producer_of

__all__ = ["LOOK_SECONDS", "bury"]

LOOK_SECONDS = 0.5
"""How often they look whether it lives."""


def bury(store: Store[Any], key: Key, mark: Key | None) -> None:
    """Let a future whose producer died fail, for everybody."""
    if has_died(store, key):
        error = ProducerDiedError(repr(key), store.name, producer_of(store, key))
        try:
            with suppress(LifetimeEndedError):
                settle(store, key, mark, failure(error))
        except KeyAlreadySetError:
            # It was not dead, or somebody else saw it first.
            return
        store.evict(begun_key(store, key))
