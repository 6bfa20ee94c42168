"""Results that end with a lifetime, also those that come after its end.

The future knows the key of a mark, which the lifetime evicts before the result. Who sets a result
looks for the mark after that, so of the two one sees the other.
"""

from __future__ import annotations

from typing import Any

from proxystore.abc import Capability, Key, Lifetime
from proxystore.store import Store
from proxystore_patterns.futures._producers import begun_key

__all__ = ["bind", "will_end"]

# Who waited as the lifetime ended is given the result, for the medium ends it no sooner.
_GRACE_SECONDS = 60.0


# Any: stores with whatever connectors.
def bind(store: Store[Any], key: Key, lifetime: Lifetime) -> Key:
    """Let ``lifetime`` end the result of the future ``key``, and give the fields of the mark."""
    mark = store.new_key()
    marks = (begun_key(store, key),) if Capability.LEASABLE in store.capabilities else ()
    # First, so that a lifetime whose medium keeps its time has something to end.
    store.set(mark, type(lifetime).__name__)
    lifetime.add_key(mark, key, *marks, store=store)
    return store.plain_key(mark)


def will_end(store: Store[Any], key: Key, mark: Key) -> bool:
    """See to it that a result that was set has an end; `False` if it was removed at once."""
    if store.exists(store.make_key(mark)):
        return True
    if Capability.LEASABLE in store.capabilities:
        store.touch(key, _GRACE_SECONDS)
        return True
    store.evict(key)
    return False
