"""What users write about stores, as type checkers see it."""

from __future__ import annotations

from typing import assert_type

from proxystore.connectors.local import LocalConnector
from proxystore.factory import SimpleFactory
from proxystore.proxy import Proxy, extract, is_resolved, resolve
from proxystore.store import Store


def a_proxy_knows_its_target(store: Store[LocalConnector]) -> None:
    proxy = store.proxy([1, 2, 3])
    assert_type(proxy, Proxy[list[int]])
    assert_type(extract(proxy), list[int])
    assert_type(is_resolved(proxy), bool)
    resolve(proxy)


def a_store_knows_its_connector() -> None:
    with Store("typed", LocalConnector()) as store:
        assert_type(store.connector, LocalConnector)


def a_factory_gives_its_type() -> None:
    assert_type(extract(Proxy(SimpleFactory("text"))), str)
