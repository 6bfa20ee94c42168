"""`ShmConnector` keeps the contract, and small objects never tear, leak or come back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxystore.abc import Capability
from proxystore.connectors.shm import ShmConnector
from proxystore.testing import ConnectorContract


class TestShmContract(ConnectorContract):
    capabilities = frozenset({
        Capability.CROSS_PROCESS,
        Capability.DEFERRABLE,
        Capability.LEASABLE,
        Capability.RANGED,
        Capability.REPLACEABLE,
    })

    @pytest.fixture
    def connector(self) -> Iterator[ShmConnector]:
        with ShmConnector() as connector:
            yield connector
