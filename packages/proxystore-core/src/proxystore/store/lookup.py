"""Stores found by name, identity, proxy or config."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from proxystore.abc import Key
from proxystore.errors import ProxyStoreFactoryError
from proxystore.proxy import Proxy, get_factory
from proxystore.store.base import Store
from proxystore.store.factory import StoreFactory
from proxystore.store.reference import StoreReference
from proxystore.store.registry import STORES

if TYPE_CHECKING:
    from proxystore.store.config import StoreConfig

__all__ = [
    "get_key",
    "get_or_create_store",
    "get_store",
    "register_store",
    "store_registration",
    "unregister_store",
]


# Any in this module: stores with whatever connectors, proxies of whatever objects.
def get_store(store: str | Proxy[Any]) -> Store[Any] | None:
    """The open store of a name, an identity or a proxy.

    A name belongs to the store registered under it, else to the only open
    store that has it. The store of a proxy is opened if it is not open yet.

    Returns:
        `None` if no open store has the name or identity.

    Raises:
        StoreNotRegisteredError: Different stores have the name, and none of
            them is registered.
        ProxyStoreFactoryError: The proxy did not come from a store.
    """
    if isinstance(store, Proxy):
        return _factory_of(store, "get_store()").get_store()
    found: Store[Any] | None = STORES.find(store)
    return found


def get_or_create_store(
    store_config: StoreConfig | StoreReference, *, register: bool = True
) -> Store[Any]:
    """The open store at the address in ``store_config``, opened if there is none.

    Args:
        store_config: As `Store.config` or, without the 100 ms that pydantic takes
            to import, `Store.reference` gives.
        register: Register the store under its name.

    Raises:
        ConfigError: There is no such connector, or it has no such option.
        StoreExistsError: ``register``, and a different store has the name.
    """
    if isinstance(store_config, StoreReference):
        store: Store[Any] = STORES.obtain(store_config)
    else:
        with store_config.connector.naming_file():
            store = STORES.obtain(store_config.reference)
    if register:
        STORES.register(store)
    return store


def register_store(store: Store[Any], exist_ok: bool = False) -> None:  # noqa: FBT001, FBT002
    """Let `get_store` find ``store`` by its name before any other, and keep it open.

    Args:
        store: An open store. Registering it again, or another one of the same
            identity, is fine.
        exist_ok: Take the place of a different store of the same name.

    Raises:
        StoreExistsError: A different store is registered under the name.
    """
    STORES.register(store, exist_ok=exist_ok)


def unregister_store(name_or_store: str | Store[Any]) -> None:
    """Let a store no longer answer to its name. Does nothing if there is none."""
    STORES.unregister(name_or_store)


@contextmanager
def store_registration(*stores: Store[Any], exist_ok: bool = False) -> Iterator[None]:
    """Register ``stores`` while a `with` block runs. Does not close them.

    Raises:
        StoreExistsError: As `register_store`; then none of them stays registered.
    """
    registered: list[Store[Any]] = []
    try:
        for store in stores:
            register_store(store, exist_ok=exist_ok)
            registered.append(store)
        yield
    finally:
        for store in registered:
            unregister_store(store)


def get_key(proxy: Proxy[Any]) -> Key:
    """The key of the object that ``proxy`` stands for. Does not resolve it.

    Raises:
        ProxyStoreFactoryError: The proxy did not come from a store.
    """
    return _factory_of(proxy, "get_key()").key


def _factory_of(proxy: Proxy[Any], asked: str) -> StoreFactory[Any]:
    factory = get_factory(proxy)
    if not isinstance(factory, StoreFactory):
        raise ProxyStoreFactoryError(asked, repr(factory))
    return factory
