"""Thousands of leftovers, hundreds of processes, few descriptors, little memory: it goes on."""

from __future__ import annotations

import gc
import os
import resource
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
from proxystore.cli import main
from proxystore.connectors._file import reading
from proxystore.connectors._shm import spill
from proxystore.connectors.file import FileConnector, collect_media, list_media
from proxystore.connectors.shm import ShmConnector, media_folder
from proxystore.store import Store

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs shared memory")

Start = Callable[..., subprocess.Popen[str]]

_FEW_DESCRIPTORS = 256


@pytest.fixture
def memory(
    mount_tmpfs: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Shared memory of a size, of nobody else."""

    def make(options: str) -> Path:
        where = mount_tmpfs(options)
        monkeypatch.setattr("proxystore.connectors._file.media._SHARED_MEMORY", str(where))
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        spill._warned.clear()
        return where

    return make


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FEW_DESCRIPTORS, usual[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, usual)


def _used(where: Path) -> int:
    room = os.statvfs(where)
    return (room.f_blocks - room.f_bfree) * room.f_frsize


_DYING = """
import os, signal, sys, tempfile
from proxystore.connectors._file import media
from proxystore.connectors.shm import ShmConnector
media._SHARED_MEMORY, tempfile.tempdir = sys.argv[2:4]
reading, writing = os.pipe()
children = []
for _ in range(int(sys.argv[1])):
    child = os.fork()
    if child == 0:
        try:
            exec(sys.argv[4])
            os.write(writing, b"x")
            signal.pause()
        finally:
            os._exit(1)
    children.append(child)
for child in children:
    assert os.read(reading, 1)
for child in children:
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
print("dead", flush=True)
"""


@pytest.fixture
def die(start_python: Start, memory: Callable[[str], Path]) -> Callable[[int, str], None]:
    """Has as many processes do something, and be killed when all have."""

    def dying(number: int, work: str) -> None:
        folder = os.path.dirname(media_folder())
        process = start_python(_DYING, str(number), folder, tempfile.gettempdir(), work)
        assert process.stdout is not None
        assert process.stdout.readline() == "dead\n"

    return dying


# --- Many processes ---------------------------------------------------------------------


@linux
@pytest.mark.slow
def test_a_thousand_media_of_dead_processes_go_in_bounded_steps(
    memory: Callable[[str], Path], die: Callable[[int, str], None]
) -> None:
    where = memory("size=256m")
    die(200, "for _ in range(5): ShmConnector(collect=False).put(bytes(5000))")
    left = len(os.listdir(media_folder()))
    assert left == 1000
    durations = []
    while len(os.listdir(media_folder())) > 400:
        start = time.process_time()
        with ShmConnector():
            durations.append(time.process_time() - start)
            assert 0 < left - len(os.listdir(media_folder())) + 1 <= 64
        left = len(os.listdir(media_folder()))
    assert max(durations) < 0.5
    assert len(collect_media()) == left
    assert list_media() == []
    assert _used(where) == 0


@linux
@pytest.mark.slow
def test_leftovers_are_found_behind_many_media_of_the_living(
    memory: Callable[[str], Path], die: Callable[[int, str], None]
) -> None:
    memory("size=256m")
    living = [ShmConnector(collect=False) for _ in range(100)]
    die(5, "ShmConnector(collect=False).put(b'x')")
    for _ in range(40):
        ShmConnector().close()
    assert len(os.listdir(media_folder())) == len(living)
    for each in living:
        each.close()


@linux
@pytest.mark.slow
@pytest.mark.usefixtures("few_descriptors")
def test_full_slabs_of_many_dead_processes_take_no_descriptors(
    memory: Callable[[str], Path], die: Callable[[int, str], None]
) -> None:
    memory("size=256m")
    with ShmConnector(max_nbytes=200_000_000) as connector:
        fill = "[guest.put(b'x' * 16_000) for _ in range(8)]"
        die(150, f"guest = ShmConnector.from_url({connector.url!r}); {fill}")
        before = len(os.listdir("/proc/self/fd"))
        keys = [connector.put(b"\x08" * 16_000) for _ in range(100)]
        assert all(connector.get(key) == b"\x08" * 16_000 for key in keys)
        assert len(os.listdir("/proc/self/fd")) - before < 30
        # Each of them can be read, and evicted, too.
        entries = list(connector.entries())
        assert len(entries) == 150 * 8 + 100
        for entry in entries:
            assert connector.get(entry.key) is not None
            connector.evict(entry.key)
        connector.gc()
        assert len(os.listdir(connector.config()["store_dir"])) < 20


_HUNDREDS = """
import os, random, resource, sys, tempfile
tempfile.tempdir = sys.argv[2]
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
from proxystore.connectors.shm import ShmConnector, ShmKey
shared = ShmKey(sys.argv[3])

def work(number):
    rng, connector = random.Random(number), ShmConnector.from_url(sys.argv[1])
    assert connector.wait(shared, 60)
    keys = {}
    for step in range(6):
        nbytes = rng.choice((10, 1000, 20_000, 70_000, 300_000))
        data = bytes([rng.randrange(256)]) * nbytes
        keys[connector.put(data)] = data
        assert all(connector.get(key) == data for key, data in keys.items())
        if len(keys) > 4:
            key = next(iter(keys))
            connector.evict(key)
            del keys[key]
            assert connector.get(key) is None
    for key in keys:
        connector.evict(key)

children = []
for number in range(300):
    child = os.fork()
    if child == 0:
        try:
            work(number)
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{number}: {error}\\n".encode())
            os._exit(1)
    children.append(child)
print("started", flush=True)
print(sum(os.waitpid(child, 0)[1] != 0 for child in children), flush=True)
"""


@linux
@pytest.mark.slow
def test_three_hundred_processes_at_once_work_within_default_limits(
    memory: Callable[[str], Path], tmp_path: Path, start_python: Start
) -> None:
    memory("size=512m")
    with ShmConnector(max_nbytes=100_000_000) as connector:
        starting = connector.new_key("starting")
        pool = start_python(_HUNDREDS, connector.url, str(tmp_path), starting.name)
        assert pool.stdout is not None
        assert pool.stdout.readline() == "started\n"
        connector.set(starting, b"go")
        assert pool.stdout.readline() == "0\n"
        assert [entry.key for entry in connector.entries()] == [starting]
        connector.evict(starting)
        connector.gc()
        assert connector.census().uses.total() < 100_000


# --- Many views -------------------------------------------------------------------------


@pytest.mark.slow
def test_views_leave_half_of_the_mappings_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_most_mappings", lambda: 200)
    with FileConnector(tmp_path / "objects") as connector:
        key = connector.put(b"\x05" * 100_000)
        gc.collect()
        before = len(reading._views)
        views = [connector.get(key) for _ in range(150)]
        mapped = [view for view in views if isinstance(view, memoryview)]
        assert len(mapped) + before == 100
        assert all(view == b"\x05" * 100_000 for view in views)
        del views, mapped
        gc.collect()
        assert isinstance(connector.get(key), memoryview)


_WITHOUT_ADDRESSES = """
import os, resource
from proxystore.connectors.shm import ShmConnector
with ShmConnector(max_nbytes=1 << 30) as connector:
    path, data = connector.config()["store_dir"], b"d" * (40 << 20)
    connector.evict(connector.put(data))
    (kept,) = [name for name in os.listdir(path) if name.startswith(".free-")]
    inode = os.stat(f"{path}/{kept}").st_ino
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    usual = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + (20 << 20), usual[1]))
    key = connector.put(data)
    resource.setrlimit(resource.RLIMIT_AS, usual)
    result = bytes(connector.get(key)) == data, os.stat(f"{path}/{key.name}").st_ino == inode
"""


@linux
@pytest.mark.slow
def test_a_file_that_cannot_be_mapped_is_filled_again_by_writing(
    run_python: Callable[..., Any],
) -> None:
    assert run_python(_WITHOUT_ADDRESSES) == (True, True)


# --- Little shared memory ------------------------------------------------------------------


@linux
@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "medium", "said"),
    [
        ("size=64m", Medium.SHARED_MEMORY, "There is no room in shared memory"),
        ("size=16m", Medium.DISK, "less than 32 MiB"),
    ],
)
def test_a_container_with_little_shared_memory_works_and_says_so_once(
    memory: Callable[[str], Path], options: str, medium: Medium, said: str
) -> None:
    where = memory(options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in ("one", "two"):
            with Store(name) as store:
                assert store.connector.medium is medium
                keys = [store.put(bytes([n]) * 5_000_000) for n in range(8)]
                keys += [store.put(bytes([n]) * 100) for n in range(8)]
                assert [store.get(key)[0] for key in keys] == [*range(8)] * 2
                assert _used(where) < 32 << 20
    (warning,) = [each for each in caught if each.category is RuntimeWarning]
    assert said in str(warning.message)


@linux
@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("size=64m", "Give the container more"),
        ("size=16m", "no usable shared memory, so objects go to disk"),
    ],
)
@pytest.mark.filterwarnings("ignore:There is no shared memory:RuntimeWarning")
def test_doctor_says_how_little_shared_memory_there_is(
    memory: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
    options: str,
    said: str,
) -> None:
    memory(options)
    assert main(["doctor"]) == 0
    (line,) = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("shared memory")
    ]
    assert "advice" in line
    assert said in line
