"""A connector that keeps objects in the memory of a node and moves them with UCX."""

from __future__ import annotations

from proxystore_connectors_ucx._connector import UCXConnector
from proxystore_connectors_ucx._key import UCXKey

__all__ = ["UCXConnector", "UCXKey"]
