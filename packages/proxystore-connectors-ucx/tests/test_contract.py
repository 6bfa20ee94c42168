"""The connector keeps the contract, within a node and between two."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxystore.abc import Capability
from proxystore.testing import ConnectorContract
from proxystore_connectors_ucx import UCXConnector

CAPABILITIES = frozenset(Capability) - {Capability.ASYNC}


class TestWithinANode(ConnectorContract):
    capabilities = CAPABILITIES


class TestBetweenNodes(ConnectorContract):
    capabilities = CAPABILITIES
    owns_medium = False

    @pytest.fixture
    def connector(self, remote: Callable[..., UCXConnector]) -> UCXConnector:
        return remote()
