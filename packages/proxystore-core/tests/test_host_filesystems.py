"""Facts about file systems and nodes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from proxystore.host import filesystems
from proxystore.host.filesystems import UNKNOWN, filesystem_of, is_local, is_memory
from proxystore.host.node import Node, this_node

TABLE = (
    b"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
    b"30 27 0:25 / /dev/shm rw,nosuid shared:4 - tmpfs tmpfs rw,size=24684084k\n"
    b"31 27 0:60 / /home rw - btrfs /dev/vdb rw\n"
    b"32 27 0:61 / /mnt/a\\040b rw master:1 - nfs4 server:/x rw\n"
    b"a line that says nothing\n"
)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mountinfo").write_bytes(TABLE)
    monkeypatch.setattr(filesystems, "_MOUNTS", str(tmp_path / "mountinfo"))


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    ("path", "device", "kind"),
    [
        ("/dev/shm/x", os.makedev(0, 25), "tmpfs"),
        ("/var", os.makedev(254, 0), "ext4"),
        ("/home/user", os.makedev(0, 99), "btrfs"),
        ("/homes", os.makedev(0, 99), "ext4"),
        ("/mnt/a b/x", os.makedev(0, 98), "nfs4"),
    ],
)
def test_a_file_system_is_known_by_its_device_or_else_its_mount_point(
    path: str, device: int, kind: str
) -> None:
    assert kind == filesystem_of(path, device)


def test_without_a_mount_table_the_file_system_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystems, "_MOUNTS", str(tmp_path / "absent"))
    assert filesystem_of("/", 1) == UNKNOWN
    assert not is_local(UNKNOWN)
    assert not is_memory(UNKNOWN)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no mount table")
def test_shared_memory_of_this_machine_is_memory_and_local() -> None:
    kind = filesystem_of("/dev/shm", os.stat("/dev/shm").st_dev)
    assert is_memory(kind)
    assert is_local(kind)


def test_network_file_systems_are_neither_local_nor_memory() -> None:
    assert not any(is_local(kind) or is_memory(kind) for kind in ("nfs4", "lustre", "fuse.sshfs"))


def test_a_node_is_itself_after_a_journey_as_text() -> None:
    assert Node.parse(str(this_node())) == this_node()
    assert this_node().is_here()


def test_a_node_booted_at_another_time_is_not_here() -> None:
    assert not Node(this_node().host, "00000000").is_here()


@pytest.mark.parametrize("text", ["", "host", "/boot", "host/"])
def test_text_that_is_no_node_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="host/boot"):
        Node.parse(text)
