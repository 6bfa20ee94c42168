"""The connector keeps the contract: everything here comes from the kit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxystore.abc import Capability
from proxystore.testing import ConnectorContract
from proxystore_connectors_margo import MargoConnector, Protocol

EVERYTHING = frozenset(Capability) - {Capability.ASYNC}


class TestSharedMemoryContract(ConnectorContract):
    """On the fixture `connector` of conftest.py."""

    capabilities = EVERYTHING


class TestNetworkContract(ConnectorContract):
    capabilities = EVERYTHING

    @pytest.fixture
    def connector(self) -> Iterator[MargoConnector]:
        with MargoConnector(protocol=Protocol.OFI_TCP) as connector:
            yield connector
