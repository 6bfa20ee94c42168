"""The connector keeps the contract: everything here comes from the kit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from proxystore.abc import Capability
from proxystore.testing import ConnectorContract
from proxystore_connectors_template import TemplateConnector


class TestTemplateContract(ConnectorContract):
    capabilities = frozenset({Capability.DEFERRABLE, Capability.CROSS_PROCESS})

    @pytest.fixture
    def connector(self, tmp_path: Path) -> Iterator[TemplateConnector]:
        with TemplateConnector(tmp_path / "objects.db") as connector:
            yield connector
