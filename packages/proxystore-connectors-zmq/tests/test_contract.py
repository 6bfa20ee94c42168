"""The connector keeps the contract: everything here comes from the kit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from proxystore.abc import Capability
from proxystore.testing import ConnectorContract
from proxystore_connectors_zmq import ZMQConnector

CAPABILITIES = frozenset(Capability) - {Capability.ASYNC}


class TestOneNodeContract(ConnectorContract):
    capabilities = CAPABILITIES

    @pytest.fixture
    def connector(self) -> Iterator[ZMQConnector]:
        with ZMQConnector() as connector:
            yield connector
        # What a test left to others with close(clear=False) ends here.
        ZMQConnector(namespace=connector.config()["namespace"], adopt=True).close()


@pytest.fixture(scope="module")
def owner(runtime: Path) -> Iterator[ZMQConnector]:
    with ZMQConnector(address="127.0.0.1") as owner:
        yield owner


class TestTwoNodesContract(ConnectorContract):
    """The connector of each test is on another node than the owner, and than its twin.

    So what it puts is on its own node, what has a key before is on the owner's, and each
    is read from the other one, over the encrypted channel.
    """

    capabilities = CAPABILITIES
    owns_medium = False

    @pytest.fixture
    def connector(
        self, owner: ZMQConnector, other_runtime: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[ZMQConnector]:
        with monkeypatch.context() as patch:
            patch.setenv("PROXYSTORE_RUNTIME_DIR", str(other_runtime))
            connector = ZMQConnector.from_config(owner.config())
        with connector:
            yield connector
