"""The connector keeps the contract: everything here comes from the kit."""

from __future__ import annotations

from proxystore.abc import Capability
from proxystore.testing import ConnectorContract


class TestMargoContract(ConnectorContract):
    """On the fixture `connector` of conftest.py."""

    capabilities = frozenset(Capability) - {Capability.ASYNC}
