"""Files of evicted objects in shared memory serve the next ones, and never those who still look."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxystore.connectors._file.layout import FREE
from proxystore.connectors.file import FileConnector, FileKey
from proxystore.host.locks import lock

NBYTES = 300_000

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="shared memory as files")


@pytest.fixture
def connector() -> Iterator[FileConnector]:
    with FileConnector.temporary(collect=False) as connector:
        if connector.medium.value != "shared memory":
            pytest.skip("no usable shared memory")
        yield connector


def _path(connector: FileConnector) -> Path:
    return Path(connector.config()["store_dir"])


def _inode(connector: FileConnector, key: FileKey) -> int:
    return (_path(connector) / key.filename).stat().st_ino


def _pattern(number: int, nbytes: int = NBYTES) -> bytes:
    return bytes([number]) * nbytes


def _evicted(connector: FileConnector) -> list[str]:
    return [name for name in os.listdir(_path(connector)) if name.startswith(FREE)]


def test_the_next_object_gets_the_file_of_an_evicted_one(connector: FileConnector) -> None:
    key = connector.put(_pattern(1))
    inode = _inode(connector, key)
    connector.evict(key)
    for number in range(5):
        key = connector.put(_pattern(number))
        assert _inode(connector, key) == inode
        assert connector.get(key) == _pattern(number)
        connector.evict(key)


def test_what_was_in_the_file_is_absent(connector: FileConnector) -> None:
    old = connector.put(_pattern(1))
    connector.evict(old)
    new = connector.put(_pattern(2))
    assert connector.get(old) is None
    assert not connector.exists(old)
    connector.evict(old)
    assert connector.get(new) == _pattern(2)


@pytest.mark.parametrize("change", [-100_000, -1, 1, 4096, 200_000])
def test_a_file_serves_objects_of_other_sizes(connector: FileConnector, change: int) -> None:
    key = connector.put(_pattern(1))
    inode = _inode(connector, key)
    connector.evict(key)
    key = connector.put(_pattern(2, NBYTES + change))
    assert _inode(connector, key) == inode
    assert connector.get(key) == _pattern(2, NBYTES + change)
    connector.evict(key)
    key = connector.put(_pattern(3))
    assert connector.get(key) == _pattern(3)


def test_a_view_keeps_its_bytes_while_others_are_stored(connector: FileConnector) -> None:
    key = connector.put(_pattern(1))
    view = connector.get(key)
    part = memoryview(view)[100_000:100_010]
    del view
    connector.evict(key)
    others = [connector.put(_pattern(number)) for number in range(2, 8)]
    for other in others:
        connector.evict(other)
    connector.put(_pattern(9))
    assert part == _pattern(1, 10)


def test_a_file_serves_again_when_its_last_view_is_gone(connector: FileConnector) -> None:
    key = connector.put(_pattern(1))
    inode = _inode(connector, key)
    view = connector.get(key)
    connector.evict(key)
    other = connector.put(_pattern(2))
    assert _inode(connector, other) != inode
    connector.evict(other)
    del view
    gc.collect()
    keys = [connector.put(_pattern(number)) for number in range(2)]
    assert inode in {_inode(connector, key) for key in keys}


def test_a_change_to_a_view_does_not_reach_the_next_object(connector: FileConnector) -> None:
    key = connector.put(_pattern(1))
    view = memoryview(connector.get(key))
    view[:] = bytes(NBYTES)
    del view
    connector.evict(key)
    key = connector.put(_pattern(2))
    assert connector.get(key) == _pattern(2)


_READER = """
import sys
from proxystore.connectors.file import FileConnector, FileKey
from proxystore.host.locks import lock
connector = FileConnector.from_url(sys.argv[1])
view = memoryview(connector.get(FileKey(sys.argv[2])))
print("mapped", flush=True)
for line in sys.stdin:
    print(set(view), flush=True)
"""


def _reader(connector: FileConnector, key: FileKey) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _READER, connector.url, key.filename]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "mapped\n"
    return process


@pytest.mark.slow
def test_a_reader_in_another_process_never_sees_its_bytes_change(connector: FileConnector) -> None:
    key = connector.put(_pattern(1))
    with _reader(connector, key) as reader:
        connector.evict(key)
        for number in range(2, 10):
            connector.evict(connector.put(_pattern(number)))
        said, _ = reader.communicate("look\n", timeout=60)
    assert said == "{1}\n"


@pytest.mark.slow
def test_a_reader_that_is_killed_lets_go_of_its_file(connector: FileConnector) -> None:
    key = connector.put(_pattern(1))
    inode = _inode(connector, key)
    with _reader(connector, key) as reader:
        connector.evict(key)
        reader.kill()
    keys = [connector.put(_pattern(number)) for number in range(2)]
    assert inode in {_inode(connector, key) for key in keys}


@pytest.mark.slow
def test_a_forked_child_keeps_what_its_parent_lets_go_of(connector: FileConnector) -> None:
    key = connector.put(_pattern(1))
    view = memoryview(connector.get(key))
    go, child_done = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go[1])
        os.read(go[0], 1)
        os.write(child_done[1], bytes([view == _pattern(1)]))
        os._exit(0)
    del view
    gc.collect()
    connector.evict(key)
    for number in range(2, 6):
        connector.evict(connector.put(_pattern(number)))
    os.close(go[1])
    assert os.read(child_done[0], 1) == b"\x01"
    os.waitpid(pid, 0)


@pytest.mark.slow
def test_a_forked_child_stores_in_files_of_its_own(connector: FileConnector) -> None:
    keys = [connector.put(_pattern(number)) for number in range(4)]
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        mine = FileConnector.from_url(connector.url)
        for _ in range(20):
            mine.evict(mine.put(_pattern(99)))
            connector.evict(connector.put(_pattern(98)))
        os.write(write, b"done")
        os._exit(0)
    for _ in range(50):
        key = connector.put(_pattern(7))
        assert connector.get(key) == _pattern(7)
        connector.evict(key)
    os.close(write)
    assert os.read(read, 4) == b"done"
    os.waitpid(pid, 0)
    for number, key in enumerate(keys):
        assert connector.get(key) == _pattern(number)


def test_another_connector_fills_what_nobody_remembers(connector: FileConnector) -> None:
    key = connector.put(_pattern(1))
    inode = _inode(connector, key)
    connector.evict(key)
    other = FileConnector.from_url(connector.url)
    key = other.put(_pattern(2))
    assert _inode(other, key) == inode


def test_what_tasks_elsewhere_evicted_serves_those_who_store_the_next(
    connector: FileConnector,
) -> None:
    keys = [connector.put(_pattern(number)) for number in range(100)]
    inodes = {_inode(connector, key) for key in keys}
    with FileConnector.from_url(connector.url) as other:
        for key in keys:
            other.evict(key)
    # More than this connector remembers. It looks for others not too often.
    connector._objects._recycler(connector._attachment.directory())._next_scan = 0
    again = {_inode(connector, connector.put(_pattern(number))) for number in range(100)}
    assert again == inodes


def test_a_leased_object_leaves_no_lease_behind(connector: FileConnector) -> None:
    key = connector.put(_pattern(1), ttl=1000)
    inode = _inode(connector, key)
    connector.evict(key)
    key = connector.put(_pattern(2))
    assert _inode(connector, key) == inode
    (entry,) = connector.entries()
    assert entry.expires is None


def test_generations_differ_though_the_file_is_the_same(connector: FileConnector) -> None:
    key = connector.new_key("again")
    seen = set()
    for number in range(20):
        connector.set(key, _pattern(number))
        seen.add(connector.generation(key))
        connector.evict(key)
    assert len(seen) == 20


def test_small_objects_and_disks_keep_nothing(connector: FileConnector, tmp_path: Path) -> None:
    connector.evict(connector.put(b"small"))
    assert not _evicted(connector)
    with FileConnector(tmp_path / "objects") as on_disk:
        if on_disk.medium is not connector.medium:
            on_disk.evict(on_disk.put(_pattern(1)))
            assert not _evicted(on_disk)


def test_collecting_frees_what_waits_to_be_used_again(connector: FileConnector) -> None:
    connector.evict(connector.put(_pattern(1)))
    assert connector.gc().nbytes >= NBYTES
    assert not _evicted(connector)


def test_files_that_wait_never_pass_their_share(
    connector: FileConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "proxystore.connectors._file.recycling._free_limit", lambda fd: 4 * NBYTES
    )
    keys = [connector.put(_pattern(number)) for number in range(64)]
    for key in keys:
        connector.evict(key)
    assert len(_evicted(connector)) <= 4


@pytest.mark.slow
def test_a_writer_that_is_killed_while_it_fills_leaves_nothing_to_be_read(
    connector: FileConnector,
) -> None:
    key = connector.put(_pattern(1))
    connector.evict(key)
    program = (
        "import os, signal, sys\n"
        "from proxystore.connectors._file.recycling import Segment\n"
        "from proxystore.connectors.file import FileConnector\n"
        "Segment.refill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "FileConnector.from_url(sys.argv[1]).put(bytes(300_000))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, connector.url], timeout=60, check=False)
    assert done.returncode == -9
    assert list(connector.entries()) == []
    key = connector.put(_pattern(2))
    assert connector.get(key) == _pattern(2)


def test_a_reader_that_comes_just_too_late_finds_nothing(
    connector: FileConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = connector.put(_pattern(1))
    other = FileConnector.from_url(connector.url)

    def lock_late(fd: int, timeout: float, *, shared: bool) -> None:
        connector.evict(key)
        connector.put(_pattern(2))
        lock(fd, timeout, shared=shared)

    monkeypatch.setattr("proxystore.connectors._file.objects.lock", lock_late)
    assert other.get(key) is None


def test_a_file_that_another_process_replaced_is_not_taken_for_its_own(
    connector: FileConnector,
) -> None:
    other = FileConnector.from_url(connector.url)
    key = connector.put(_pattern(1))
    other.replace(key, _pattern(2))
    connector.evict(key)
    key = connector.put(_pattern(3))
    assert other.get(key) == _pattern(3)
