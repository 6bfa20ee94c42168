"""What can go wrong with patterns. Each error survives pickling."""

from __future__ import annotations

from proxystore.errors import ProxyStoreError

__all__ = ["PatternsError"]


class PatternsError(ProxyStoreError):
    """The root of the errors of this distribution."""
