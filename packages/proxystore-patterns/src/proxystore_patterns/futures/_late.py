"""Futures that end with a lifetime: results that were there, and those that come after its end.

The future knows the key of a mark, which the lifetime evicts before the result. Who sets a result
looks for the mark after that, so of the two one sees the other. Who waits looks for it too.
"""

from __future__ import annotations

from typing import Any

from proxystore.abc import Capability, Key, Lifetime
from proxystore.store import Store
from proxystore_patterns._options import refusal
from proxystore_patterns.errors import LifetimeEndedError
from proxystore_patterns.futures._outcomes import Outcome, write
from proxystore_patterns.futures._producers import begun_key

__all__ = ["bind", "ended_error", "has_ended", "settle"]


# Any in this module: stores with whatever connectors.
def bind(store: Store[Any], key: Key, lifetime: Lifetime) -> Key:
    """Let ``lifetime`` end the result of the future ``key``, and give the fields of the mark.

    Raises:
        TypeError: ``lifetime`` is none.
        LifetimeEndedError: It has ended.
    """
    if not callable(getattr(lifetime, "add_key", None)):
        raise TypeError(refusal("future(lifetime=)", "a lifetime", lifetime))
    mark = store.new_key()
    marks = (begun_key(store, key),) if Capability.LEASABLE in store.capabilities else ()
    # First, so that a lifetime whose medium keeps its time has something to end.
    store.set(mark, type(lifetime).__name__)
    lifetime.add_key(mark, key, *marks, store=store)
    return store.plain_key(mark)


def has_ended(store: Store[Any], mark: Key | None) -> bool:
    """Whether the future of ``mark`` had a lifetime, which has ended."""
    return mark is not None and not store.exists(store.make_key(mark))


def settle(store: Store[Any], key: Key, mark: Key | None, outcome: Outcome) -> None:
    """Make ``outcome`` the one of ``key``.

    Raises:
        KeyAlreadySetError: It has one.
        LifetimeEndedError: Its lifetime has ended.
    """
    write(store, key, outcome)
    if has_ended(store, mark):
        store.evict(key)
        raise ended_error(store, key)


def ended_error(store: Store[Any], key: Key) -> LifetimeEndedError:
    """What those are told who use a future after its lifetime."""
    return LifetimeEndedError(f"of future {key!r} in store {store.name!r}")
