"""The connectors of core keep the contract."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxystore.abc import Capability
from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector
from proxystore.connectors.multi import MultiConnector, Policy
from proxystore.testing import ConnectorContract, MemoryConnector

IN_PROCESS = frozenset(Capability) - {Capability.ASYNC, Capability.CROSS_PROCESS}
OF_FILES = frozenset(Capability) - {Capability.ASYNC}
OF_TIERS_OF_FILES = OF_FILES - {Capability.WAITABLE}


class TestMemoryContract(ConnectorContract):
    capabilities = frozenset(Capability) - {Capability.CROSS_PROCESS}

    @pytest.fixture
    def connector(self) -> Iterator[MemoryConnector]:
        with MemoryConnector() as connector:
            yield connector


class TestLocalContract(ConnectorContract):
    capabilities = IN_PROCESS

    @pytest.fixture
    def connector(self) -> Iterator[LocalConnector]:
        with LocalConnector() as connector:
            yield connector


class FileContract(ConnectorContract):
    capabilities = OF_FILES

    def stored_bytes(self, connector: FileConnector, key: tuple[str]) -> bytes | None:
        path = Path(connector.config()["store_dir"], key[0])
        return path.read_bytes() if path.exists() else None


class TestFileOnDiskContract(FileContract):
    @pytest.fixture
    def connector(self, tmp_path: Path) -> Iterator[FileConnector]:
        with FileConnector(tmp_path / "objects") as connector:
            yield connector


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no shared memory directory")
class TestFileInSharedMemoryContract(FileContract):
    @pytest.fixture
    def connector(self) -> Iterator[FileConnector]:
        with (
            tempfile.TemporaryDirectory(dir="/dev/shm", prefix="proxystore-test-") as parent,
            FileConnector(Path(parent, "objects")) as connector,
        ):
            yield connector


class TestMultiContract(ConnectorContract):
    capabilities = OF_TIERS_OF_FILES

    @pytest.fixture
    def connector(self, tmp_path: Path) -> Iterator[MultiConnector]:
        tiers = {
            "small": (FileConnector(tmp_path / "small"), Policy(1, max_size_bytes=5000)),
            "large": (FileConnector(tmp_path / "large"), Policy()),
        }
        with MultiConnector(tiers) as connector:
            yield connector


class TestMultiWithPromotionContract(ConnectorContract):
    capabilities = OF_TIERS_OF_FILES

    @pytest.fixture
    def connector(self, tmp_path: Path) -> Iterator[MultiConnector]:
        tiers = {
            "nearest": (LocalConnector(), Policy(2, copies_ttl=60, max_size_bytes=5000)),
            "near": (FileConnector(tmp_path / "near"), Policy(1, copies_ttl=60)),
            "far": (FileConnector(tmp_path / "far"), Policy()),
        }
        with MultiConnector(tiers) as connector:
            yield connector


class TestMultiWithWriteThroughContract(ConnectorContract):
    capabilities = OF_TIERS_OF_FILES

    @pytest.fixture
    def connector(self, tmp_path: Path) -> Iterator[MultiConnector]:
        tiers = {
            "near": (
                FileConnector(tmp_path / "near"),
                Policy(1, copies_ttl=60, write_through=True),
            ),
            "far": (FileConnector(tmp_path / "far"), Policy()),
        }
        with MultiConnector(tiers) as connector:
            yield connector
