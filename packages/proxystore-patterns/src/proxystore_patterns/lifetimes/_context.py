"""`ContextLifetime`: as long as a `with` block."""

from __future__ import annotations

from proxystore_patterns.lifetimes._base import EvictingLifetime

__all__ = ["ContextLifetime"]


class ContextLifetime(EvictingLifetime):
    """Ends with a `with` block, or when `close` is called.

    ::

        with ContextLifetime(store) as lifetime:
            proxy = store.proxy(array, lifetime=lifetime)
    """
