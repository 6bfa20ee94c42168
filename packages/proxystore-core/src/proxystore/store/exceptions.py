"""The errors of stores, under the names that programs know them by."""

from __future__ import annotations

from proxystore.errors import (
    NonProxiableTypeError,
    ObjectNotFoundError,
    ProxyStoreFactoryError,
    StoreClosedError,
    StoreError,
    StoreExistsError,
    StoreNotRegisteredError,
)

__all__ = [
    "NonProxiableTypeError",
    "ProxyResolveMissingKeyError",
    "ProxyStoreFactoryError",
    "StoreClosedError",
    "StoreError",
    "StoreExistsError",
    "StoreNotRegisteredError",
]

ProxyResolveMissingKeyError = ObjectNotFoundError
