"""The connector keeps the contract on each kind of service that can be had here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from proxystore.abc import Capability
from proxystore.testing import ConnectorContract
from proxystore_connectors_obstore import ObstoreConnector, ObstoreKey

EVERYWHERE = frozenset({Capability.RANGED, Capability.ASYNC})
CONDITIONAL = frozenset({Capability.DEFERRABLE, Capability.LEASABLE})


class TestS3Contract(ConnectorContract):
    capabilities = EVERYWHERE | CONDITIONAL | {Capability.CROSS_PROCESS}
    ttl = 0.2

    @pytest.fixture
    def connector(self, s3_options: dict[str, Any], moto: Any) -> Iterator[ObstoreConnector]:
        self.s3 = moto.client
        with ObstoreConnector(**s3_options) as connector:
            yield connector

    def stored_bytes(self, connector: Any, key: ObstoreKey) -> bytes | None:
        bucket, _, prefix = connector.config()["url"].removeprefix("s3://").partition("/")
        try:
            found = self.s3.get_object(Bucket=bucket, Key=f"{prefix}/{key.object_id}")
        except self.s3.exceptions.NoSuchKey:
            return None
        return found["Body"].read()


class TestDirectoryContract(ConnectorContract):
    capabilities = EVERYWHERE | {Capability.DEFERRABLE, Capability.CROSS_PROCESS}

    @pytest.fixture
    def connector(self, tmp_path: Path) -> Iterator[ObstoreConnector]:
        with ObstoreConnector(f"obstore+file://{tmp_path}/objects") as connector:
            yield connector

    def stored_bytes(self, connector: Any, key: ObstoreKey) -> bytes | None:
        file = Path(connector.config()["url"].removeprefix("obstore+file://"), key.object_id)
        return file.read_bytes() if file.exists() else None


class TestMemoryContract(ConnectorContract):
    capabilities = EVERYWHERE | CONDITIONAL

    @pytest.fixture
    def connector(self) -> Iterator[ObstoreConnector]:
        with ObstoreConnector(f"obstore+memory://{uuid4().hex}") as connector:
            yield connector
