"""The connector keeps the contract: everything here comes from the kit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from proxystore.abc import Capability
from proxystore.testing import ConnectorContract
from proxystore_connectors_redis import RedisConnector, RedisKey

_CAPABILITIES = frozenset({
    Capability.CROSS_PROCESS,
    Capability.DEFERRABLE,
    Capability.LEASABLE,
    Capability.RANGED,
    Capability.REPLACEABLE,
    Capability.WAITABLE,
})
_HEADER_NBYTES = 36


class TestRedisContract(ConnectorContract):
    capabilities = _CAPABILITIES

    @pytest.fixture
    def connector(self, server: Any) -> Iterator[RedisConnector]:
        self.client = server.client()
        with RedisConnector("127.0.0.1", server.port) as connector:
            yield connector
        self.client.close()

    def stored_bytes(self, connector: RedisConnector, key: RedisKey) -> bytes | None:
        namespace = connector.config()["namespace"]
        value = self.client.get(f"ps:{namespace}:{key.redis_key}")
        return None if value is None else value[_HEADER_NBYTES:]


class TestUnixSocketContract(ConnectorContract):
    capabilities = _CAPABILITIES

    @pytest.fixture
    def connector(self, server: Any) -> Iterator[RedisConnector]:
        with RedisConnector(socket_path=server.socket_path, db=3) as connector:
            yield connector


class TestPartsContract(ConnectorContract):
    """Every object of more than 1000 bytes in parts, as others are from 256 MB."""

    capabilities = _CAPABILITIES

    @pytest.fixture
    def connector(
        self, server: Any, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[RedisConnector]:
        monkeypatch.setattr(RedisConnector, "_part_nbytes", 50_000)
        with RedisConnector("127.0.0.1", server.port) as connector:
            yield connector
