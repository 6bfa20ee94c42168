"""Shared memory is of one user: others can neither read, touch nor prepare it; damage is told."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxystore.connectors._file.layout import ROOM, SLAB
from proxystore.connectors.file import FileConnector
from proxystore.connectors.shm import ShmConnector, ShmKey
from proxystore.errors import (
    ConnectorUnavailableError,
    CorruptObjectError,
    UnsafeDirectoryError,
)
from proxystore.store import Store

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs shared memory"),
    pytest.mark.filterwarnings("ignore:There is no room in shared memory:RuntimeWarning"),
]

Start = Callable[..., subprocess.Popen[str]]

# --- Two users ------------------------------------------------------------------------

_ONE, _OTHER = 54321, 54322

# Becomes another user, once it has used everything: this one may read modules that that may not.
_AS_USER = """
import os, sys, tempfile
from proxystore.connectors._file import media
from proxystore.connectors.file import collect_media, list_media
from proxystore.connectors.shm import ShmConnector, ShmKey
from proxystore.errors import ProxyStoreError
media._SHARED_MEMORY = tempfile.tempdir = sys.argv[2]
with ShmConnector(max_nbytes=100_000) as connector:
    for size in (1, 80_000, 200_000):
        connector.evict(connector.put(bytes(size)))
    connector.gc()
    try:
        ShmConnector.from_url("shm:///nowhere").put(b"x")
    except ProxyStoreError:
        list_media(), collect_media()
os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
def refused(operation):
    try:
        return f"not refused: {operation()!r}"
    except (ProxyStoreError, OSError) as error:
        return f"{type(error).__name__}: {error}"
"""

_OWNER = """
connector = ShmConnector(max_nbytes=1_000_000)
keys = [connector.put(b"k" * nbytes) for nbytes in (10, 300_000, 3_000_000)]
print(connector.url, *(" ".join(map(str, key)) for key in keys), sep="|", flush=True)
sys.stdin.readline()
print([len(connector.get(key) or b"") for key in keys])
"""

_STRANGER = """
url, *fields = sys.argv[3].split("|")
connector = ShmConnector.from_url(url)
keys = [ShmKey(name, int(slot), int(number)) for name, slot, number in map(str.split, fields)]
folder = connector.config()["store_dir"]
for operation in (
    *(lambda key=key: connector.get(key) for key in keys),
    *(lambda key=key: connector.evict(key) for key in keys),
    lambda: connector.put(b"x"),
    lambda: connector.gc(),
    lambda: os.listdir(folder),
    lambda: os.listdir(os.path.dirname(folder)),
    lambda: os.unlink(os.path.join(folder, keys[1].name)),
):
    print(refused(operation))
print(list_media(), collect_media())
with ShmConnector() as mine:
    print(bytes(mine.get(mine.put(b"mine"))), mine.config()["store_dir"])
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory in which every user may make directories, as in shared memory."""
    if os.geteuid() != 0:
        pytest.skip("only root can become two users")
    path = Path(tempfile.mkdtemp(dir="/dev/shm"))
    path.chmod(0o1777)
    yield path
    shutil.rmtree(path)


@pytest.mark.slow
def test_another_user_of_the_node_can_neither_see_nor_touch_what_is_stored(
    shared: Path, start_python: Start
) -> None:
    owner = start_python(_AS_USER + _OWNER, str(_ONE), str(shared))
    assert owner.stdout is not None
    assert owner.stdin is not None
    said = owner.stdout.readline().strip()
    stranger = start_python(_AS_USER + _STRANGER, str(_OTHER), str(shared), said)
    *refusals, media, mine = stranger.communicate(timeout=60)[0].splitlines()
    assert len(refusals) == 11
    for refusal in refusals[:8]:
        assert refusal.startswith("ConnectorUnavailableError: "), refusal
        assert "Permission denied" in refusal
    assert all(refusal.startswith("PermissionError") for refusal in refusals[8:])
    assert media == "[] []"
    assert mine.startswith(f"b'mine' {shared}/proxystore-{_OTHER}/")
    for folder in (shared / f"proxystore-{_ONE}", shared / f"proxystore-{_ONE}-spilled"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for path in folder.rglob("*"):
            private = 0o700 if path.is_dir() else 0o600
            assert path.is_symlink() or stat.S_IMODE(path.stat().st_mode) & 0o777 == private
    owner.stdin.write("\n")
    owner.stdin.flush()
    assert owner.stdout.readline() == "[10, 300000, 3000000]\n"


# --- What somebody prepared -------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the private directories of these tests are."""
    monkeypatch.setattr("proxystore.connectors._file.media._SHARED_MEMORY", "/nowhere")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def _link(path: Path) -> None:
    (path.parent / "real").mkdir(mode=0o700)
    path.symlink_to(path.parent / "real")


def _of_another(path: Path) -> None:
    path.mkdir(mode=0o700)
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    os.chown(path, _OTHER, _OTHER)


def _open_to_all(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


_PREPARED: dict[str, Callable[[Path], None]] = {
    "symbolic link": _link,
    "is a symbolic link": lambda path: path.symlink_to("nowhere"),
    "not a directory": Path.touch,
    "belongs to user": _of_another,
    "others can write": _open_to_all,
}


@pytest.mark.parametrize("found", _PREPARED)
@pytest.mark.filterwarnings("ignore:There is no shared memory:RuntimeWarning")
def test_a_place_for_media_that_somebody_prepared_is_refused(elsewhere: Path, found: str) -> None:
    _PREPARED[found](elsewhere / f"proxystore-{os.geteuid()}")
    with pytest.raises(UnsafeDirectoryError, match=found):
        Store("refused")
    with pytest.raises(UnsafeDirectoryError, match=found):
        FileConnector.temporary()
    assert not list(elsewhere.glob("real/*"))


@pytest.mark.parametrize("found", _PREPARED)
def test_a_place_for_what_has_no_room_that_somebody_prepared_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    _PREPARED[found](tmp_path / f"proxystore-{os.geteuid()}-spilled")
    with ShmConnector(max_nbytes=100_000) as connector:
        with pytest.raises(UnsafeDirectoryError, match=found):
            connector.put(bytes(200_000))
        assert connector.get(connector.put(b"small")) == b"small"
    assert not list(tmp_path.glob("real/*"))


def test_links_in_place_of_slabs_and_objects_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    with ShmConnector() as connector:
        path = Path(connector.config()["store_dir"])
        (path / f"{SLAB}linked").symlink_to(secret)
        (path / "linked").symlink_to(secret)
        for key in (ShmKey("linked", 0, 1), ShmKey("linked")):
            with pytest.raises(ConnectorUnavailableError):
                connector.get(key)


# --- Damage ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def intact() -> Iterator[tuple[ShmConnector, dict[ShmKey, bytes]]]:
    """A medium with small objects in two slabs, which stays as it is."""
    with ShmConnector() as connector:
        objects = {
            connector.put(bytes([number]) * nbytes): bytes([number]) * nbytes
            for number in range(1, 9)
            for nbytes in (100, 5000)
        }
        yield connector, objects


def _damaged(connector: ShmConnector, flips: list[tuple[int, int]], table: int) -> Path:
    """A copy of the medium, with bytes of its slabs' headers and tables changed."""
    path = Path(connector.config()["store_dir"])
    # Not beside it, where whoever looks for media of the dead would remove it.
    copy = Path(tempfile.mkdtemp(prefix="damaged-", dir=path.parent.parent))
    for each in path.iterdir():
        data = bytearray(each.read_bytes())
        if each.name.startswith(SLAB):
            for position, value in flips:
                data[position % table] ^= value
        (copy / each.name).write_bytes(data)
    return copy


@settings(max_examples=60)
@given(
    flips=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), max_size=4),
    table=st.sampled_from([16, 64, 400]),
)
@example(flips=[(9, 0x20 ^ 0x14)], table=16)
def test_whatever_of_an_index_is_damaged_is_told_or_absent_and_use_goes_on(
    intact: tuple[ShmConnector, dict[ShmKey, bytes]], flips: list[tuple[int, int]], table: int
) -> None:
    connector, objects = intact
    copy = _damaged(connector, flips, table)
    try:
        with ShmConnector.from_url(f"shm://{copy}") as other:
            for key, data in objects.items():
                try:
                    found = other.get(key)
                except CorruptObjectError:
                    continue
                # A length of nonsense cuts it short or shows zeros behind it: a store's
                # checksum tells. Never are they bytes of another object.
                assert found is None or bytes(found).rstrip(b"\0") == data[: len(found)]
            other.census()
            list(other.entries())
            other.gc()
            key = _stored(other, b"new" * 20)
            assert other.get(key) == b"new" * 20
            other.evict(key)
            assert other.get(key) is None
    finally:
        shutil.rmtree(copy)


def _stored(connector: ShmConnector, data: bytes) -> ShmKey:
    # Of a damaged slot of its own it says so, once.
    for _ in range(8):
        try:
            return connector.put(data)
        except CorruptObjectError:
            continue
    raise AssertionError("every slot is damaged")


@settings(max_examples=30)
@given(data=st.binary(max_size=40))
def test_a_damaged_bound_stops_nothing(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tempfile.tempdir = str(tmp_path_factory.getbasetemp())
    try:
        with ShmConnector() as connector:
            (Path(connector.config()["store_dir"]) / ROOM).write_bytes(data)
            for nbytes in (10, 100_000):
                assert connector.get(connector.put(bytes(nbytes))) == bytes(nbytes)
    finally:
        tempfile.tempdir = None


def test_a_slot_whose_words_are_nonsense_is_told_and_not_written_to() -> None:
    with ShmConnector() as connector:
        key = connector.put(b"x")
        slab = connector._open_slabs().slab_named(key.name)
        assert slab is not None
        connector.evict(key)
        slab._words[key.slot * 4] = (1 << 64) - 1
        with pytest.raises(CorruptObjectError, match="slot"):
            connector.put(b"y")
        assert connector.get(connector.put(b"z")) == b"z"
