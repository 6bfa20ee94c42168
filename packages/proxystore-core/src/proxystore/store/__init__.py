"""Stores: objects in a medium, and proxies that find them from anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxystore._marker import require_whole
from proxystore.store._prefetch import prefetch
from proxystore.store.base import Store
from proxystore.store.factory import StoreFactory
from proxystore.store.factory import _load as _load
from proxystore.store.inline import InlineFactory
from proxystore.store.inline import _readonly as _readonly
from proxystore.store.lookup import (
    get_key,
    get_or_create_store,
    get_store,
    register_store,
    store_registration,
    unregister_store,
)
from proxystore.store.options import Verify

if TYPE_CHECKING:
    from proxystore.store.config import ConnectorConfig, StoreConfig

__all__ = [
    "ConnectorConfig",
    "InlineFactory",
    "Store",
    "StoreConfig",
    "StoreFactory",
    "Verify",
    "get_key",
    "get_or_create_store",
    "get_store",
    "prefetch",
    "register_store",
    "store_registration",
    "unregister_store",
]

require_whole()


# The second place with a module __getattr__, beside the front door of connectors:
# programs import StoreConfig from here, and pydantic takes longer to import than
# everything else together.
def __getattr__(name: str) -> Any:
    if name in {"ConnectorConfig", "StoreConfig"}:
        from proxystore.store import config

        return getattr(config, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
