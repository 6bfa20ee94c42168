"""The connector keeps the contract: everything here comes from the kit."""

from __future__ import annotations

import pytest

from proxystore.abc import Capability
from proxystore.testing import ConnectorContract
from proxystore_connectors_globus import GlobusConnector, GlobusKey


class TestGlobusContract(ConnectorContract):
    capabilities = frozenset({Capability.CROSS_PROCESS, Capability.RANGED})

    @pytest.fixture
    def connector(self, here: GlobusConnector, sites) -> GlobusConnector:
        self.sites = sites
        return here

    def stored_bytes(self, connector: GlobusConnector, key: GlobusKey) -> bytes | None:
        file = self.sites.file(0, connector, key.object_id)
        return file.read_bytes() if file.exists() else None
