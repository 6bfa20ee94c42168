"""The connector keeps the contract within a node."""

from __future__ import annotations

from proxystore.abc import Capability
from proxystore.testing import ConnectorContract


class TestWithinANode(ConnectorContract):
    capabilities = frozenset(Capability) - {Capability.ASYNC}
