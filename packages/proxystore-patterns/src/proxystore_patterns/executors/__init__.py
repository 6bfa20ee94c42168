"""Executors and engines whose tasks get large objects by store."""

from __future__ import annotations

from proxystore_patterns.executors._calls import proxied
from proxystore_patterns.executors._policy import (
    ProxyAlways,
    ProxyNever,
    ProxyPolicy,
    ProxySize,
    ProxyType,
    approximate_nbytes,
)
from proxystore_patterns.executors._store_executor import StoreExecutor

__all__ = [
    "ProxyAlways",
    "ProxyNever",
    "ProxyPolicy",
    "ProxySize",
    "ProxyType",
    "StoreExecutor",
    "approximate_nbytes",
    "proxied",
]
