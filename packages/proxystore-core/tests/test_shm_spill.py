"""A medium takes no more shared memory than it may; what does not fit goes to disk and back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxystore.abc import Medium
from proxystore.connectors._shm import spill
from proxystore.connectors._shm.room import bound
from proxystore.connectors.file import collect_media
from proxystore.connectors.shm import ShmConnector, ShmKey, census_of
from proxystore.errors import (
    ConnectorUnavailableError,
    KeyAlreadySetError,
    KeyNotSetError,
    MediumFullError,
)
from proxystore.store import Store

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs shared memory"),
    pytest.mark.filterwarnings("ignore:There is no room in shared memory:RuntimeWarning"),
]

BOUND = 2_000_000
NBYTES = 300_000


@pytest.fixture
def connector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShmConnector]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ShmConnector(max_nbytes=BOUND) as connector:
        if connector.medium is not Medium.SHARED_MEMORY:
            pytest.skip("no usable shared memory")
        yield connector


def _path(connector: ShmConnector) -> Path:
    return Path(connector.config()["store_dir"])


def _taken(connector: ShmConnector) -> int:
    return sum(path.lstat().st_blocks * 512 for path in _path(connector).iterdir())


def _is_on_disk(connector: ShmConnector, key: ShmKey) -> bool:
    return (_path(connector) / key.name).is_symlink()


def _pattern(number: int, nbytes: int = NBYTES) -> bytes:
    return bytes([number]) * nbytes


def _fill(connector: ShmConnector) -> dict[ShmKey, bytes]:
    """Objects until two went to disk."""
    objects = {}
    for number in range(50):
        key = connector.put(_pattern(number))
        objects[key] = _pattern(number)
        if sum(_is_on_disk(connector, each) for each in objects) == 2:
            break
    return objects


def test_a_medium_stays_within_its_bound(connector: ShmConnector) -> None:
    for nbytes in (300, 5000, 60_000, NBYTES):
        keys = [connector.put(_pattern(7, nbytes)) for _ in range(3 * BOUND // nbytes // 2)]
        assert _taken(connector) <= BOUND + 4096 * 8
        assert all(connector.get(key) == _pattern(7, nbytes) for key in keys[::10])
        for key in keys:
            connector.evict(key)


def test_the_default_bound_is_a_share_of_the_machine() -> None:
    with ShmConnector() as connector:
        limit = bound(connector._attachment.directory())
        assert limit is not None
        room = os.statvfs("/dev/shm")
        assert 0 < limit <= room.f_blocks * room.f_frsize // 4


def test_what_does_not_fit_is_read_by_every_process(
    connector: ShmConnector, run_python: Callable[..., Any]
) -> None:
    objects = _fill(connector)
    read = run_python(
        "from proxystore.connectors.shm import ShmConnector, ShmKey\n"
        "url, keys = given\n"
        "other = ShmConnector.from_url(url)\n"
        "result = [bytes(other.get(ShmKey(*key))) for key in keys]\n",
        (connector.url, [tuple(key) for key in objects]),
    )
    assert read == list(objects.values())


def test_one_warning_a_process_says_so(connector: ShmConnector) -> None:
    spill._warned.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _fill(connector)
    (warning,) = [each for each in caught if each.category is RuntimeWarning]
    assert "max_nbytes" in str(warning.message)
    assert str(BOUND) in str(warning.message)


def test_files_that_wait_to_be_filled_go_before_objects_do(connector: ShmConnector) -> None:
    for number in range(5):
        connector.put(_pattern(number))
    for key in [connector.put(_pattern(9, 150_000)) for _ in range(3)]:
        connector.evict(key)
    large = connector.put(_pattern(1, 400_000))
    assert not _is_on_disk(connector, large)


def test_an_object_on_disk_is_changed_and_removed_like_others(connector: ShmConnector) -> None:
    key = list(_fill(connector))[-1]
    assert _is_on_disk(connector, key)
    first = connector.generation(key)
    assert connector.exists(key)
    connector.replace(key, _pattern(77))
    assert connector.generation(key) not in {None, first}
    assert connector.get(key) == _pattern(77)
    assert connector.get_range(key, 5, 3) == bytes([77]) * 3
    assert connector.touch(key, 60)
    connector.evict(key)
    assert connector.get(key) is None
    assert not connector.exists(key)
    assert not connector.touch(key, 60)
    with pytest.raises(KeyNotSetError):
        connector.replace(key, b"x")


def test_a_key_is_set_once_whether_in_memory_or_on_disk(connector: ShmConnector) -> None:
    _fill(connector)
    key = connector.new_key("chosen")
    connector.set(key, _pattern(1))
    assert _is_on_disk(connector, key)
    for nbytes in (5, NBYTES):
        with pytest.raises(KeyAlreadySetError):
            connector.set(key, _pattern(2, nbytes))
    assert connector.get(key) == _pattern(1)
    connector.evict(key)
    connector.set(key, _pattern(3))
    assert connector.get(key) == _pattern(3)


def test_an_object_in_memory_is_replaced_by_one_that_does_not_fit(connector: ShmConnector) -> None:
    key = connector.new_key()
    connector.set(key, b"small", ttl=60)
    _fill(connector)
    connector.replace(key, _pattern(5))
    assert _is_on_disk(connector, key)
    assert connector.get(key) == _pattern(5)
    (entry,) = [entry for entry in connector.entries() if entry.key == key]
    assert entry.expires is not None
    assert 0 < entry.expires - time.time() < 61


def test_an_object_on_disk_expires(connector: ShmConnector) -> None:
    _fill(connector)
    key = connector.new_key("leased")
    connector.set(key, _pattern(1), ttl=1e-6)
    assert _is_on_disk(connector, key)
    assert connector.get(key) is None
    assert not connector.exists(key)
    connector.set(key, _pattern(2))
    assert connector.get(key) == _pattern(2)


def test_what_is_read_comes_back_when_there_is_room(connector: ShmConnector) -> None:
    objects = _fill(connector)
    last = list(objects)[-1]
    assert _is_on_disk(connector, last)
    for key in list(objects)[:4]:
        connector.evict(key)
    connector.gc()
    assert connector.get(last) == objects[last]
    assert not _is_on_disk(connector, last)
    assert connector.get(last) == objects[last]
    connector.evict(last)
    assert connector.get(last) is None
    connector.gc()
    assert connector.get(last) is None


def test_what_comes_back_just_as_it_is_read_is_found(connector: ShmConnector) -> None:
    objects = _fill(connector)
    last = list(objects)[-1]
    for key in list(objects)[:4]:
        connector.evict(key)
    connector.gc()
    reading, guest = connector._objects._objects, ShmConnector.from_url(connector.url)
    original = reading.read

    def late(*arguments: Any) -> Any:
        try:
            return original(*arguments)
        except ConnectorUnavailableError:
            assert guest.get(last) == objects[last]
            assert not _is_on_disk(connector, last)
            raise

    reading.read = late  # type: ignore[method-assign]
    assert connector.get(last) == objects[last]


def test_closing_clears_the_disk_too(connector: ShmConnector, tmp_path: Path) -> None:
    _fill(connector)
    spilled = connector._attachment.directory().spilled
    assert spilled is not None
    assert Path(spilled).exists()
    path = _path(connector)
    connector.close()
    assert not Path(spilled).exists()
    assert not path.exists()


@pytest.mark.slow
def test_the_disk_is_cleared_after_the_owner_was_killed(
    connector: ShmConnector, tmp_path: Path
) -> None:
    code = f"""
import os, signal, sys, tempfile
tempfile.tempdir = {str(tmp_path)!r}
from proxystore.connectors.shm import ShmConnector
connector = ShmConnector(max_nbytes=100_000)
connector.put(bytes(200_000))
print(connector._attachment.directory().spilled, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    spilled = Path(done.stdout.strip())
    assert spilled.exists()
    collect_media()
    assert not spilled.exists()


def test_what_a_memory_left_on_disk_is_collected(connector: ShmConnector, tmp_path: Path) -> None:
    _fill(connector)
    spilled = connector._attachment.directory().spilled
    assert spilled is not None
    assert spill.collect_spilled() == 0
    # As after the machine was switched off.
    for path in _path(connector).iterdir():
        path.unlink()
    _path(connector).rmdir()
    assert spill.collect_spilled() == 1
    assert not Path(spilled).exists()


def test_a_directory_on_disk_whose_maker_died_at_once_is_collected(
    connector: ShmConnector,
) -> None:
    _fill(connector)
    begun = Path(connector._attachment.directory().spilled or "").parent / "begun"
    begun.mkdir(mode=0o700)
    assert spill.collect_spilled() == 0
    os.utime(begun, (1, 1))
    assert spill.collect_spilled() == 1
    assert not begun.exists()


def test_a_link_that_never_got_its_name_is_collected(connector: ShmConnector) -> None:
    _fill(connector)
    link = _path(connector) / ".tmp-link"
    link.symlink_to("x")
    connector.gc()
    assert link.is_symlink()
    os.utime(link, (1, 1), follow_symlinks=False)
    connector.gc()
    assert not link.is_symlink()


@pytest.mark.slow
def test_halves_that_a_killed_process_left_on_disk_are_collected(
    connector: ShmConnector,
) -> None:
    _fill(connector)
    on_disk = connector._objects._found()
    assert on_disk is not None
    name = on_disk.put(b"never linked", None)
    spilled = Path(connector._attachment.directory().spilled or "", name)
    os.utime(spilled, (time.time() - 100, time.time() - 100))
    os.symlink("dangling", _path(connector) / "dangling")
    connector.gc()
    assert not spilled.exists()
    assert not (_path(connector) / "dangling").is_symlink()


def test_a_collection_takes_nothing_of_what_is_on_disk(connector: ShmConnector) -> None:
    objects = _fill(connector)
    connector.gc()
    with ShmConnector.from_url(connector.url) as other:
        other.gc()
        assert all(other.get(key) == data for key, data in objects.items())


def test_entries_and_census_know_of_objects_on_disk(connector: ShmConnector) -> None:
    objects = _fill(connector)
    assert {entry.key: entry.nbytes for entry in connector.entries()} == dict.fromkeys(
        objects, NBYTES
    )
    assert census_of(str(_path(connector))).objects == len(objects)


def test_a_bound_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        ShmConnector(max_nbytes=-1)


def test_a_store_without_room_at_all_keeps_everything_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Store("on disk", ShmConnector(max_nbytes=0)) as store:
        for obj in ("small", b"x" * 100_000, list(range(1000))):
            assert store.get(store.put(obj)) == obj


# --- Small file systems, as in containers -----------------------------------------


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Shared memory of 64 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    where = tmp_path / "shm"
    where.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(where)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small mount: {done.stderr.strip()}")
    monkeypatch.setattr("proxystore.connectors._file.media._SHARED_MEMORY", str(where))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


@pytest.mark.slow
def test_in_64_mb_of_shared_memory_everything_is_stored(small: Path) -> None:
    with Store("small") as store:
        objects = {}
        for number in range(30):
            data = _pattern(number, 4_000_000)
            objects[store.put(data)] = data
        for number in range(2000):
            data = _pattern(number % 250, 2000)
            objects[store.put(data)] = data
        assert all(store.get(key) == data for key, data in objects.items())
        room = os.statvfs(small)
        assert room.f_bfree >= room.f_blocks // 2


@pytest.mark.slow
@pytest.mark.parametrize("nbytes", [100, 30_000, 1_000_000])
def test_where_others_fill_shared_memory_objects_go_to_disk(small: Path, nbytes: int) -> None:
    with ShmConnector(max_nbytes=1 << 30) as connector:
        first = connector.put(_pattern(1, nbytes))
        with open(small / "others", "wb") as file, pytest.raises(OSError, match="space"):
            while True:
                os.write(file.fileno(), bytes(4096))
        keys = [connector.put(_pattern(2, nbytes)) for _ in range(2_000_000 // nbytes // 20 + 2)]
        assert connector.get(first) == _pattern(1, nbytes)
        assert all(connector.get(key) == _pattern(2, nbytes) for key in keys)
        for key in (first, *keys):
            connector.evict(key)
            assert connector.get(key) is None


@pytest.mark.slow
def test_a_full_disk_is_told_and_loses_nothing(small: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(disk)]
    subprocess.run(command, check=True)
    tempfile.tempdir = str(disk)
    try:
        with ShmConnector(max_nbytes=1_000_000) as connector:
            objects = {}
            with pytest.raises(MediumFullError, match=str(disk)):
                for number in range(20):
                    objects[connector.put(_pattern(number))] = _pattern(number)
            assert all(connector.get(key) == data for key, data in objects.items())
            for key in list(objects)[-3:]:
                connector.evict(key)
            key = connector.put(_pattern(1))
            assert connector.get(key) == _pattern(1)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_without_shared_memory_one_warning_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxystore.connectors._file.media._SHARED_MEMORY", f"{tmp_path}/absent")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.warns(RuntimeWarning, match="no shared memory"):
        first = Store("one")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = Store("two")
    with first, second:
        assert first.connector.medium is Medium.DISK
        for store in (first, second):
            for obj in (b"small", b"x" * 100_000):
                assert store.get(store.put(obj)) == obj
