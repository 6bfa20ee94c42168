"""Readers, writers and owners of shared memory may be killed anywhere; clocks may be set back."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from proxystore.connectors._file.layout import is_object
from proxystore.connectors._shm.spill import collect_spilled
from proxystore.connectors.file import FileConnector, collect_media
from proxystore.connectors.shm import ShmConnector, ShmKey
from proxystore.errors import MediumFullError, MediumGoneError
from proxystore.store import Store
from proxystore.testing._forked import in_forked_child

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs shared memory"),
    pytest.mark.filterwarnings("ignore:There is no room in shared memory:RuntimeWarning"),
]

Start = Callable[..., subprocess.Popen[str]]

# What a process changes files with, and looks at them.
_CHANGES = (
    *("fchmod", "ftruncate", "link", "mkdir", "open", "posix_fallocate", "pwrite", "rename"),
    *("rmdir", "symlink", "unlink", "utime", "writev"),
)


@pytest.fixture
def connector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShmConnector]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ShmConnector(max_nbytes=4_000_000) as connector:
        if connector.medium.value != "shared memory":
            pytest.skip("no usable shared memory")
        yield connector


def _path(connector: ShmConnector) -> Path:
    return Path(connector.config()["store_dir"])


def _inode(connector: ShmConnector, key: ShmKey) -> int:
    return (_path(connector) / key.name).stat().st_ino


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


# --- kill -9 ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("step", ["os.open", "fcntl.flock", "os.stat", "mmap.mmap"])
def test_a_reader_killed_while_it_maps_holds_nothing(
    connector: ShmConnector, start_python: Start, step: str
) -> None:
    key = connector.put(b"\x01" * 300_000)
    inode = _inode(connector, key)
    reader = start_python(
        f"""
import fcntl, mmap, os, sys
from proxystore.connectors.shm import ShmConnector, ShmKey
connector = ShmConnector.from_url(sys.argv[1])
connector.exists(ShmKey(sys.argv[2]))
original = {step}
def stop(*args, **kwargs):
    result = original(*args, **kwargs)
    print("stopped", flush=True)
    sys.stdin.read()
    return result
{step} = stop
connector.get(ShmKey(sys.argv[2]))
""",
        connector.url,
        key.name,
    )
    assert _line(reader) == "stopped"
    connector.evict(key)
    reader.kill()
    reader.wait()
    keys = [connector.put(bytes([number]) * 300_000) for number in range(2)]
    assert inode in {_inode(connector, key) for key in keys}
    assert [connector.get(key) for key in keys] == [bytes(300_000), b"\x01" * 300_000]


def _small_puts(medium: ShmConnector, kept: ShmKey) -> None:
    medium.evict(medium.put(b"one", ttl=3600))
    medium.put(b"two")


def _large_puts(medium: ShmConnector, kept: ShmKey) -> None:
    medium.evict(medium.put(b"\x02" * 200_000))
    medium.put(b"\x03" * 150_000, ttl=3600)
    medium.put(b"\x04" * 150_000)


def _sets(medium: ShmConnector, kept: ShmKey) -> None:
    medium.set(medium.new_key("small"), b"s" * 10)
    medium.set(medium.new_key("large"), b"l" * 100_000, ttl=3600)


def _moves(medium: ShmConnector, kept: ShmKey) -> None:
    medium.replace(kept, b"new" * 10)
    medium.replace(kept, b"new" * 50_000)
    medium.touch(kept, 3600)


def _spills(medium: ShmConnector, kept: ShmKey) -> None:
    medium.put(b"\x05" * 5_000_000)
    medium.set(medium.new_key("disk"), b"d" * 5_000_000)
    medium.replace(kept, b"new" * 2_000_000)
    medium.replace(kept, b"new" * 2_100_000)


def _collections(medium: ShmConnector, kept: ShmKey) -> None:
    for key in [medium.put(bytes(nbytes)) for nbytes in (10, 100_000, 5_000_000)]:
        medium.evict(key)
    medium.gc()


def _killed_before(change: int, work: Callable[[], object]) -> bool:
    """Whether a forked child got to change a file that often, and was killed just before."""
    child = os.fork()
    if child == 0:
        numbers = count(1)

        def counted(original: Callable[..., object]) -> Callable[..., object]:
            def changing(*args: object, **kwargs: object) -> object:
                if next(numbers) == change:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*args, **kwargs)

            return changing

        try:
            for name in _CHANGES:
                setattr(os, name, counted(getattr(os, name)))
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in {0, signal.SIGKILL}
    return bool(status)


@pytest.mark.slow
@pytest.mark.parametrize("work", [_small_puts, _large_puts, _sets, _moves, _spills, _collections])
def test_a_process_killed_at_any_step_leaves_whole_objects_and_nothing_that_stays(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    work: Callable[[ShmConnector, ShmKey], None],
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for change in count(1):
        with ShmConnector(max_nbytes=4_000_000, collect=False) as owner:
            other, kept = owner.put(b"other"), owner.put(b"old")
            guest = ShmConnector.from_url(owner.url)
            was_killed = _killed_before(change, lambda: work(guest, kept))
            assert owner.get(other) == b"other"
            assert bytes(owner.get(kept) or b"")[:3] in {b"old", b"new"}
            for entry in list(owner.entries()):
                data = bytes(owner.get(entry.key) or b"?")
                if entry.key not in {other, kept}:
                    assert data in {b"one", b"two"} or data == data[:1] * len(data)
                owner.evict(entry.key)
            _age(_path(owner))
            for path in tmp_path.glob("*-spilled/*"):
                _age(path)
            owner.gc()
            assert not list(owner.entries())
            assert not [
                path.name
                for path in _path(owner).iterdir()
                if is_object(path.name) or path.name.startswith((".tmp-", ".free-", ".moved-"))
            ]
            assert owner.get(owner.put(b"again")) == b"again"
        collect_spilled()
        assert not list(tmp_path.glob("*-spilled/*"))
        if not was_killed:
            break
    assert change > 3


def _age(directory: Path) -> None:
    for path in (directory, *directory.iterdir()):
        if not path.name.startswith(".slab-"):
            os.utime(path, (1, 1), follow_symlinks=False)


@pytest.mark.slow
def test_what_a_killed_owner_left_goes_and_views_of_it_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_python: Start
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    owner = start_python(
        """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from proxystore.connectors.shm import ShmConnector
connector = ShmConnector(max_nbytes=1_000_000, collect=False)
keys = [connector.put(b"k" * nbytes) for nbytes in (10, 300_000, 3_000_000)]
print(connector.url, *(f"{key.name}/{key.slot}/{key.generation}" for key in keys), flush=True)
sys.stdin.read()
""",
        str(tmp_path),
    )
    url, *fields = _line(owner).split()
    keys = [ShmKey(name, int(slot), int(number)) for name, slot, number in map(_split, fields)]
    guest = ShmConnector.from_url(url)
    views = [guest.get(key) for key in keys]
    owner.kill()
    owner.wait()
    assert [guest.get(key) for key in keys] == views, "nobody cleared it yet"
    collect_media()
    assert not _path(guest).exists()
    assert not list(tmp_path.glob("*-spilled/*"))
    assert [view == b"k" * len(view or b"") for view in views] == [True] * 3
    for key in keys:
        with pytest.raises(MediumGoneError):
            guest.get(key)


def _split(text: str) -> list[str]:
    return text.split("/")


@pytest.mark.slow
def test_children_forked_in_the_midst_of_a_resolve_resolve_all(tmp_path: Path) -> None:
    with Store("forked", cache_size=0) as store:
        objects = [bytes([number]) * nbytes for number, nbytes in enumerate((10, 5000, 400_000))]
        data = pickle.dumps([store.proxy(obj) for obj in objects])
        over = threading.Event()

        def resolve() -> None:
            while not over.is_set():
                assert [bytes(proxy) for proxy in pickle.loads(data)] == objects

        threads = [threading.Thread(target=resolve) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(30):
                assert in_forked_child(lambda: [bytes(p) for p in pickle.loads(data)] == objects)
        finally:
            over.set()
            for thread in threads:
                thread.join()


# --- Clocks --------------------------------------------------------------------------


def _set_clock(monkeypatch: pytest.MonkeyPatch, by: float) -> None:
    now, now_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: now() + by)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + int(by * 1e9))


@pytest.mark.parametrize("by", [-86400.0, 86400.0])
@pytest.mark.parametrize("nbytes", [10, 100_000, 5_000_000])
def test_a_lease_lasts_as_long_as_it_should_though_somebody_sets_the_clock(
    connector: ShmConnector, monkeypatch: pytest.MonkeyPatch, by: float, nbytes: int
) -> None:
    lasting, ending = connector.put(bytes(nbytes), ttl=600), connector.put(bytes(nbytes), ttl=1e-6)
    _set_clock(monkeypatch, by)
    with ShmConnector.from_url(connector.url) as later:
        assert later.get(lasting) == bytes(nbytes)
        assert later.get(ending) is None
        (entry,) = later.entries()
        assert entry.expires is not None
        assert 0 < entry.expires - time.time() <= 600
        later.gc()
        assert later.exists(lasting)
        assert later.touch(lasting, 1e-6)
        assert later.get(lasting) is None


@pytest.mark.parametrize("by", [-86400.0, 86400.0])
def test_halves_of_dead_writers_are_collected_though_somebody_set_the_clock(
    connector: ShmConnector, monkeypatch: pytest.MonkeyPatch, by: float
) -> None:
    half = _path(connector) / ".tmp-half"
    half.touch()
    assert connector.gc().orphans == 0
    _set_clock(monkeypatch, by)
    assert connector.gc().orphans == 1
    assert not half.exists()


def test_leases_on_a_disk_are_told_by_the_clock_that_its_hosts_share(tmp_path: Path) -> None:
    with FileConnector(tmp_path / "objects") as on_disk:
        if on_disk.medium.value != "disk":
            pytest.skip("temporary files are in memory here")
        key = on_disk.put(b"x", ttl=600)
        ends = (tmp_path / "objects" / key.filename).stat().st_mtime
        assert 500 < ends - time.time() <= 600


# --- Room ----------------------------------------------------------------------------


@pytest.mark.slow
def test_where_the_disk_is_full_too_a_set_makes_nothing_and_a_replace_keeps_what_was(
    mount_tmpfs: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = mount_tmpfs("size=2m")
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    with ShmConnector(max_nbytes=500_000) as connector:
        kept = connector.put(b"kept")
        key = connector.new_key()
        with pytest.raises(MediumFullError, match=str(disk)):
            connector.set(key, bytes(3_000_000))
        with pytest.raises(MediumFullError, match=str(disk)):
            connector.replace(kept, bytes(3_000_000))
        assert connector.get(kept) == b"kept"
        assert connector.get(key) is None
        connector.set(key, bytes(1_000_000))
        with pytest.raises(MediumFullError, match=str(disk)):
            connector.replace(key, bytes(3_000_000))
        assert connector.get(key) == bytes(1_000_000)
        connector.gc()
        assert len(list(connector.entries())) == 2


@pytest.mark.slow
def test_where_memory_has_no_name_left_for_what_is_on_disk_nothing_stays_there(
    mount_tmpfs: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = mount_tmpfs("size=64m,nr_inodes=24")
    monkeypatch.setattr("proxystore.connectors._file.media._SHARED_MEMORY", str(where))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ShmConnector(max_nbytes=100_000) as connector:
        keys = []
        with pytest.raises(MediumFullError):
            for _ in range(30):
                keys.append(connector.put(bytes(200_000)))
        spilled = Path(connector._attachment.directory().spilled or "")
        assert len([path for path in spilled.iterdir() if is_object(path.name)]) == len(keys)
        assert all(connector.get(key) == bytes(200_000) for key in keys)
        connector.evict(keys[0])
        assert connector.get(connector.put(bytes(200_000))) == bytes(200_000)
