"""The private directories of stores without a connector."""

from __future__ import annotations

import multiprocessing
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from proxystore.abc import Medium
from proxystore.connectors.file import (
    FileConnector,
    FileKey,
    MediumInfo,
    collect_media,
    list_media,
)
from proxystore.errors import UnsafeDirectoryError

OWNER = """
import sys
from proxystore.connectors.file import FileConnector
connector = FileConnector.temporary()
connector.put(b"12345")
print(connector.config()["store_dir"], flush=True)
if sys.argv[1] == "leave":
    sys.exit()
if sys.argv[1] == "drop":
    del connector
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def away_from_other_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Directories of this test are not in the place that all processes share."""
    monkeypatch.setattr("proxystore.connectors._file.media._SHARED_MEMORY", str(tmp_path / "none"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def owner(until: str) -> subprocess.Popen[str]:
    code = (
        "from proxystore.connectors._file import media\nmedia._SHARED_MEMORY = '/nowhere'\n" + OWNER
    )
    command = [sys.executable, "-c", code, until]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def path_from(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_temporary_connector_owns_a_private_directory_until_closed() -> None:
    with FileConnector.temporary() as connector:
        path = Path(connector.config()["store_dir"])
        assert connector.is_owner
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert path.parent.name == f"proxystore-{os.geteuid()}"
        assert connector.get(connector.put(b"x")) == b"x"
    assert not path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="shared memory is a directory on Linux only")
def test_a_temporary_connector_is_in_shared_memory_and_its_address_is_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    with FileConnector.temporary() as connector:
        if connector.medium is not Medium.SHARED_MEMORY:
            pytest.skip("/dev/shm is full or not usable here")
        host = len(os.uname().nodename.partition(".")[0])
        assert len(connector.url) - host <= 80
        assert connector.url.startswith(f"file:///dev/shm/proxystore-{os.geteuid()}/")


def test_living_media_are_listed_with_what_they_hold() -> None:
    with FileConnector.temporary() as connector:
        connector.put(b"12345")
        path = connector.config()["store_dir"]
        assert list_media() == [MediumInfo(path, os.getpid(), alive=True, objects=1, nbytes=5)]
        assert collect_media() == []
    assert list_media() == []


@pytest.mark.slow
def test_the_medium_of_a_killed_owner_is_collected() -> None:
    with owner("stay") as process:
        path = path_from(process)
        assert list_media() == [MediumInfo(path, process.pid, alive=True, objects=1, nbytes=5)]
        process.kill()
        process.wait(30)
    dead = MediumInfo(path, process.pid, alive=False, objects=1, nbytes=5)
    assert list_media() == [dead]
    assert collect_media() == [dead]
    assert not Path(path).exists()


@pytest.mark.slow
def test_the_next_temporary_connector_collects_after_a_killed_owner() -> None:
    with owner("stay") as process:
        path = path_from(process)
        process.kill()
        process.wait(30)
    with FileConnector.temporary():
        assert not Path(path).exists()


@pytest.mark.slow
def test_a_process_that_ends_without_closing_leaves_nothing() -> None:
    with owner("leave") as process:
        path = path_from(process)
        assert process.wait(30) == 0
    assert not Path(path).exists()


@pytest.mark.slow
def test_objects_outlive_a_connector_that_nobody_closed() -> None:
    with owner("drop") as process:
        path = path_from(process)
        (medium,) = list_media()
        assert (medium.path, medium.alive, medium.objects) == (path, True, 1)
        process.stdin.close()
        assert process.wait(30) == 0
    assert not Path(path).exists()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_that_ends_clears_nothing() -> None:
    with FileConnector.temporary() as connector:
        connector.set(FileKey("a"), b"x")
        code = (
            "import os, sys\n"
            "from proxystore.connectors._file import media\n"
            "media._SHARED_MEMORY = '/nowhere'\n"
            "from proxystore.connectors.file import FileConnector, FileKey\n"
            "connector = FileConnector.temporary()\n"
            "key = connector.put(b'x')\n"
            "child = os.fork()\n"
            "if child == 0:\n"
            "    sys.exit()\n"
            "assert os.waitpid(child, 0)[1] == 0\n"
            "assert connector.get(key) == b'x'\n"
        )
        subprocess.run([sys.executable, "-c", code], timeout=60, check=True)
        assert connector.get(FileKey("a")) == b"x"


def test_a_place_that_others_could_have_prepared_is_refused(tmp_path: Path) -> None:
    parent = tmp_path / f"proxystore-{os.geteuid()}"
    parent.mkdir()
    parent.chmod(0o777)
    with pytest.raises(UnsafeDirectoryError, match="mode 0777"):
        FileConnector.temporary()


def test_foreign_things_among_the_media_are_left_alone(tmp_path: Path) -> None:
    parent = tmp_path / f"proxystore-{os.geteuid()}"
    (parent / "folder").mkdir(parents=True, mode=0o700)
    parent.chmod(0o700)
    (parent / "folder" / "notes").touch()
    (parent / "file").touch()
    (parent / "link").symlink_to(tmp_path)
    with FileConnector.temporary():
        pass
    collect_media()
    assert (parent / "folder" / "notes").exists()
    assert (parent / "file").exists()
    assert (parent / "link").is_symlink()


WORKER = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from proxystore.connectors.file import FileConnector

def leave_open(n):
    global connector
    connector = FileConnector.temporary()
    return connector.config()["store_dir"]

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        print(*pool.map(leave_open, range(2)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_what_a_worker_of_a_pool_left_open_goes_when_the_worker_ends(
    tmp_path: Path, method: str
) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    command = [sys.executable, str(script), method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    paths = done.stdout.split()
    assert [os.path.exists(path) for path in paths] == [False, False]


NO_DESCRIPTORS = """
import os, resource
from proxystore.connectors.file import FileConnector
from proxystore.errors import ConnectorUnavailableError
FileConnector.temporary().close()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
for free in range(8):
    taken = []
    while True:
        try:
            taken.append(os.dup(0))
        except OSError:
            break
    for fd in taken[:free]:
        os.close(fd)
    try:
        connector = FileConnector.temporary()
        assert "node=" in connector.url, connector.url
        connector.close()
        print(free, "enough")
    except ConnectorUnavailableError as error:
        assert "Too many open files" in str(error), error
    for fd in taken[free:]:
        os.close(fd)
"""


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no shared memory here")
def test_a_process_without_free_descriptors_is_told_so() -> None:
    command = [sys.executable, "-c", NO_DESCRIPTORS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout[-9:].strip()) == (0, "7 enough"), done.stderr
