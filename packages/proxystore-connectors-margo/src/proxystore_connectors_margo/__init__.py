"""A connector that keeps objects in store processes and moves them by Mochi Margo."""

from __future__ import annotations

from proxystore_connectors_margo._connector import MargoConnector, MargoKey
from proxystore_connectors_margo._protocol import Protocol

__all__ = ["MargoConnector", "MargoKey", "Protocol"]
