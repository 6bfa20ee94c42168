"""The connector keeps the contract between two nodes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator

import pytest

from proxystore.abc import Capability
from proxystore.testing import ConnectorContract
from proxystore_connectors_ucx import UCXConnector


@pytest.fixture(scope="module", autouse=True)
def runtime() -> Iterator[str]:
    """One owner for all tests: what is tested is the other node, which owns nothing."""
    folder = tempfile.mkdtemp(prefix="ucx-")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROXYSTORE_HOME", f"{folder}/home")
        patch.setenv("PROXYSTORE_RUNTIME_DIR", f"{folder}/here")
        with UCXConnector(port=0, timeout=5.0, transports="tcp") as owner:
            patch.setenv("PROXYSTORE_RUNTIME_DIR", f"{folder}/there")
            yield owner.url
    shutil.rmtree(folder, ignore_errors=True)


class TestBetweenNodes(ConnectorContract):
    capabilities = frozenset(Capability) - {Capability.ASYNC}
    owns_medium = False

    @pytest.fixture
    def connector(self, runtime: str) -> Iterator[UCXConnector]:
        owner = UCXConnector.from_url(runtime).config()
        with UCXConnector.from_config({**owner, "node": "elsewhere/00000000"}) as connector:
            yield connector
