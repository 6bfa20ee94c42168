"""Copies that several processes make, read, drop and die over."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxystore.abc import Capability
from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector
from proxystore.connectors.multi import MultiConnector, MultiKey, Policy
from proxystore.testing import Peer

NEAR = Policy(priority=1, copies_ttl=60.0)
THROUGH = Policy(priority=1, copies_ttl=60.0, write_through=True)
FAR = Policy()


def test_another_process_reads_and_makes_copies_alike(tmp_path: Path) -> None:
    near = FileConnector(tmp_path / "near")
    tiers = {"near": (near, THROUGH), "far": (FileConnector(tmp_path / "far"), FAR)}
    with MultiConnector(tiers) as multi, Peer(multi) as peer:
        key = MultiKey(*peer.call("put", None, b"an object"))
        (copy,) = near.entries()
        assert copy.expires is not None
        assert multi.get(key) == b"an object"
        peer.call("evict", key)
        assert list(near.entries()) == []


def test_a_tier_of_copies_of_another_process_fails_nothing(tmp_path: Path) -> None:
    tiers = {
        "near": (LocalConnector(), THROUGH),
        "far": (FileConnector(tmp_path / "far"), FAR),
    }
    with MultiConnector(tiers) as multi, Peer(multi) as peer:
        assert Capability.CROSS_PROCESS in multi.capabilities
        key = multi.put(b"x")
        assert peer.call("get", key) == b"x"
        peer.call("replace", key, b"y")
        assert multi.get(key) == b"y"
        peer.call("evict", key)
        assert multi.get(key) is None


FROZEN = """
from proxystore.abc import Capability
from proxystore.connectors.file import FileConnector

class FrozenFiles(FileConnector):
    @property
    def capabilities(self):
        return super().capabilities - {Capability.REPLACEABLE, Capability.LEASABLE}
"""


@pytest.fixture
def frozen_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Any]]:
    """Files that neither end nor are replaced: a class that other processes can import."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "frozen_files.py").write_text(FROZEN)
    monkeypatch.syspath_prepend(folder)
    import frozen_files  # type: ignore[import-not-found]

    yield frozen_files.FrozenFiles
    del sys.modules["frozen_files"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fixed", "replaceable"])
def test_a_process_that_reads_while_another_evicts_leaves_no_copy(
    tmp_path: Path, kind: str, frozen_files: type[Any]
) -> None:
    near = FileConnector(tmp_path / "near")
    far = (frozen_files if kind == "fixed" else FileConnector)(tmp_path / "far")
    tiers = {"near": (near, NEAR), "far": (far, FAR)}
    with MultiConnector(tiers) as multi, Peer(multi) as one, Peer(multi) as two:
        for _ in range(150):
            key = multi.put(bytes(20_000))
            for peer in (one, two):
                peer.ask("get", key)
            multi.evict(key)
            # Either what they read began before the evict, or it is gone.
            for peer in (one, two):
                assert peer.answer() in (bytes(20_000), None)
            assert list(near.entries()) == []
            assert (multi.get(key), one.call("get", key)) == (None, None)


@pytest.mark.slow
def test_a_process_never_reads_what_another_has_replaced(tmp_path: Path) -> None:
    tiers = {
        "near": (FileConnector(tmp_path / "near"), THROUGH),
        "far": (FileConnector(tmp_path / "far"), FAR),
    }
    with MultiConnector(tiers) as multi, Peer(multi) as one, Peer(multi) as two:
        key = multi.put(b"0")
        for number in range(1, 150):
            for peer in (one, two):
                peer.ask("get", key)
            multi.replace(key, b"%d" % number)
            older, newer = b"%d" % (number - 1), b"%d" % number
            for peer in (one, two):
                assert peer.answer() in (older, newer)
                assert peer.call("get", key) == newer


@pytest.mark.slow
def test_what_a_killed_process_copied_ends_with_its_lease(tmp_path: Path) -> None:
    near, far = FileConnector(tmp_path / "near"), FileConnector(tmp_path / "far")
    with MultiConnector({"near": (near, NEAR), "far": (far, FAR)}) as multi:
        for after in range(12):
            keys = [multi.put(bytes(200_000)) for _ in range(12)]
            with Peer(multi) as peer:
                for key in keys:
                    peer.ask("get", key)
                for _ in range(after):
                    peer.answer()
                peer.kill()
            assert all(copy.expires is not None for copy in near.entries())
            assert [multi.get(key) for key in keys] == [bytes(200_000)] * 12
