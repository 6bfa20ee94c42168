"""Every byte of shared memory is explained, at any moment, and given back when nobody uses it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxystore.abc import Medium
from proxystore.cli import main
from proxystore.connectors._file.layout import SLAB
from proxystore.connectors.shm import ShmConnector, Use, media_folder, removed_nbytes
from proxystore.errors import MediumGoneError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs shared memory")

Start = Callable[..., subprocess.Popen[str]]

_TRAFFIC = """
import random, sys, tempfile
tempfile.tempdir = sys.argv[3]
from proxystore.connectors.shm import ShmConnector
rng = random.Random(int(sys.argv[2]))
connector = ShmConnector.from_url(sys.argv[1])
keys, views = [], []
while True:
    for _ in range(30):
        size = rng.choice((0, 100, 5000, 60_000, 70_000, 300_000, 2_000_000))
        keys.append(connector.put(bytes(size)))
        views.append(connector.get(rng.choice(keys)))
        if rng.random() < 0.2:
            connector.replace(rng.choice(keys), bytes(rng.choice((10, 100_000))))
        while len(keys) > 12:
            connector.evict(keys.pop(rng.randrange(len(keys))))
        del views[:-5]
    print("working", flush=True)
"""


@pytest.fixture
def small(
    mount_tmpfs: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Shared memory of 96 MB, of nobody else."""
    where = mount_tmpfs("size=96m")
    monkeypatch.setattr("proxystore.connectors._file.media._SHARED_MEMORY", str(where))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return where


@pytest.fixture
def connector(small: Path) -> Iterator[ShmConnector]:
    with ShmConnector(max_nbytes=16_000_000) as connector:
        assert connector.medium is Medium.SHARED_MEMORY
        yield connector


def _path(connector: ShmConnector) -> Path:
    return Path(connector.config()["store_dir"])


def _used(where: Path) -> int:
    room = os.statvfs(where)
    return (room.f_blocks - room.f_bfree) * room.f_frsize


def _in_files(connector: ShmConnector) -> int:
    return sum(path.lstat().st_blocks * 512 for path in _path(connector).iterdir())


def _agree(explained: Callable[[], int], used: Callable[[], int]) -> None:
    """Both say the same, once the system has freed what a process that was reaped just now held."""
    deadline = time.monotonic() + 5
    while (found := explained()) != (taken := used()) and time.monotonic() < deadline:
        os.sched_yield()
    assert found == taken


def _stopped(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])


@pytest.mark.slow
def test_the_census_is_what_the_file_system_says_in_traffic_and_after_kills(
    connector: ShmConnector, small: Path, tmp_path: Path, start_python: Start
) -> None:
    def began(number: int) -> subprocess.Popen[str]:
        return start_python(_TRAFFIC, connector.url, str(number), str(tmp_path))

    workers = [began(number) for number in range(3)]
    seen: set[Use] = set()
    for number in range(24):
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "working\n"
        for worker in workers:
            _stopped(worker)
        if number % 3 == 2:
            workers[0].kill()
            workers.pop(0).wait()
        uses = connector.census().uses
        assert uses.total() == _in_files(connector)
        total = uses.total()
        _agree(lambda total=total: total + removed_nbytes(media_folder()), lambda: _used(small))
        seen |= set(+uses)
        for worker in workers:
            worker.send_signal(signal.SIGCONT)
        while len(workers) < 3:
            workers.append(began(100 + number))
    assert {Use.OBJECTS, Use.ROUNDING, Use.FREE_SLOTS, Use.TABLES, Use.WAITING} <= seen


@pytest.mark.slow
def test_stat_explains_every_byte_with_a_process_that_keeps_what_was_removed(
    connector: ShmConnector,
    small: Path,
    start_python: Start,
    capsys: pytest.CaptureFixture[str],
) -> None:
    key, other = connector.put(bytes(3_000_000)), connector.put(bytes(1_000_000))
    keeper = start_python(
        """
import sys
from proxystore.connectors.shm import ShmConnector, ShmKey
connector = ShmConnector.from_url(sys.argv[1])
view = connector.get(ShmKey(sys.argv[2]))
part = connector.get_range(ShmKey(sys.argv[3]), 900_000, 100_000)
print("held", flush=True)
sys.stdin.read()
""",
        connector.url,
        key.name,
        other.name,
    )
    assert keeper.stdout is not None
    assert keeper.stdout.readline() == "held\n"
    connector.close()
    assert removed_nbytes(media_folder()) == _used(small) > 4_000_000
    assert main(["stat"]) == 0
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if line.startswith("removed, and still")]
    assert int(line.split()[-1]) == _used(small)
    (line,) = [line for line in printed.splitlines() if line.startswith("of other programs")]
    assert int(line.split()[-1]) == 0
    keeper.kill()
    keeper.wait()
    assert _used(small) == 0


@pytest.mark.slow
def test_a_slab_that_was_removed_is_let_go_of_by_gc_and_by_the_next_use(
    connector: ShmConnector, small: Path, start_python: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    for release in ("gc", "use"):
        writer = start_python(
            """
import sys
from proxystore.connectors.shm import ShmConnector
key = ShmConnector.from_url(sys.argv[1]).put(bytes(60_000))
print(key.name, key.slot, key.generation, flush=True)
sys.stdin.read()
""",
            connector.url,
        )
        assert writer.stdout is not None
        name, slot, generation = writer.stdout.readline().split()
        with ShmConnector.from_url(connector.url) as reader:
            theirs = connector.key_type(name, int(slot), int(generation))
            assert reader.get(theirs) == bytes(60_000)
            mine = reader.put(b"mine")
            writer.kill()
            writer.wait()
            connector.evict(theirs)
            connector.gc()
            assert not (_path(connector) / (SLAB + name)).exists()
            assert removed_nbytes(media_folder()) > 500_000
            if release == "gc":
                reader.gc()
            else:
                monkeypatch.setattr("proxystore.connectors._shm.slabs._LOOK_SECONDS", 0.0)
                reader._open_slabs()._next_look = 0.0
                assert reader.get(mine) == b"mine"
            assert removed_nbytes(media_folder()) == 0


def test_a_file_that_others_removed_while_it_was_viewed_is_let_go_of_by_gc(
    connector: ShmConnector,
) -> None:
    guest = ShmConnector.from_url(connector.url)
    key = connector.put(bytes(3_000_000))
    view = guest.get(key)
    connector.evict(key)
    guest.gc()
    assert view == bytes(3_000_000)
    del view
    assert removed_nbytes(media_folder()) > 3_000_000
    connector.gc()
    assert removed_nbytes(media_folder()) == 0


def test_a_connector_lets_go_of_all_memory_of_a_medium_that_its_owner_closed(
    connector: ShmConnector, small: Path
) -> None:
    guest = ShmConnector.from_url(connector.url)
    key = guest.put(b"small")
    assert connector.get(key) == b"small"
    connector.close()
    with pytest.raises(MediumGoneError):
        guest.get(key)
    assert removed_nbytes(media_folder()) == 0
    assert _used(small) == 0


def test_a_damaged_slab_has_a_line_of_its_own_and_stops_neither_ls_nor_gc(
    connector: ShmConnector, capsys: pytest.CaptureFixture[str]
) -> None:
    connector.put(bytes(100_000))
    (_path(connector) / f"{SLAB}damaged").write_bytes(b"x" * 5000)
    (_path(connector) / ".moved-nonsense").touch()
    (_path(connector) / ".moved-no-non-sense").touch()
    assert connector.census().uses[Use.DAMAGED] == 8192
    assert connector.census().uses.total() == _in_files(connector)
    connector.gc()
    assert not list(_path(connector).glob(".moved-*"))
    assert len(list(connector.entries())) == 1
    assert main(["ls"]) == 0
    assert main(["gc"]) == 0
    assert str(_path(connector)) in capsys.readouterr().out
