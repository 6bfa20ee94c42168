"""`proxystore` on the command line, against real media and real processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from proxystore.cli import main
from proxystore.connectors.shm import ShmConnector
from proxystore.store import Store

_COMMANDS = ("ls", "stat", "top", "gc", "doctor", "demo")
_ABANDON = """
import os, signal
from proxystore.store import Store
store = Store("abandoned")
store.put(bytearray(5000))
print(store.url, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def store() -> Iterator[Store[ShmConnector]]:
    with Store("listed") as store:
        yield store


@pytest.fixture
def abandoned() -> str:
    """URL of a private directory whose owner was killed."""
    done = subprocess.run(
        [sys.executable, "-c", _ABANDON], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.strip()


def test_ls_shows_each_object_of_a_medium(
    store: Store[ShmConnector], capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [store.put(bytearray(n)) for n in (10, 5000)]
    assert main(["ls", str(store.url)]) == 0
    printed = capsys.readouterr().out
    assert all(key.name in printed for key in keys)
    assert len(printed.splitlines()) == 1 + len(keys)


def test_ls_names_the_private_directory_of_a_live_store(
    store: Store[ShmConnector], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ls"]) == 0
    path = str(store.url).partition("?")[0]
    (line,) = [line for line in capsys.readouterr().out.splitlines() if path in line]
    assert "alive" in line


def test_stat_tells_what_an_object_survives(
    store: Store[ShmConnector], capsys: pytest.CaptureFixture[str]
) -> None:
    store.put(bytearray(5000))
    assert main(["stat", str(store.url)]) == 0
    assert "kill -9 of any process" in capsys.readouterr().out


def test_gc_removes_what_a_killed_process_left(
    abandoned: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(abandoned.partition("?")[0].removeprefix("shm://"))
    assert path.exists()
    assert main(["gc", "--dry-run"]) == 0
    assert path.exists()
    assert main(["gc"]) == 0
    assert not path.exists()
    assert str(path) in capsys.readouterr().out


def test_gc_removes_what_a_killed_store_process_and_its_owner_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROXYSTORE_RUNTIME_DIR", str(tmp_path))
    left = tmp_path / "zmq-left"
    left.mkdir(mode=0o700)
    (left / "owner").touch()
    assert main(["gc", "--dry-run"]) == 0
    assert left.exists()
    assert main(["gc"]) == 0
    assert not left.exists()
    assert str(left) in capsys.readouterr().out


def test_gc_of_a_medium_removes_expired_objects(
    store: Store[ShmConnector], capsys: pytest.CaptureFixture[str]
) -> None:
    store.put("gone", ttl=1e-9)
    kept = store.put("kept")
    assert main(["gc", str(store.url)]) == 0
    assert "1 expired" in capsys.readouterr().out
    assert store.exists(kept)


def test_a_medium_that_is_gone_is_one_sentence_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ls", f"file://{tmp_path}/absent"]) == 1
    message = capsys.readouterr().err
    assert "does not exist" in message
    assert "Traceback" not in message


def test_an_unknown_scheme_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "fil:///tmp/x"]) == 1
    assert "Did you mean 'file'?" in capsys.readouterr().err


@pytest.mark.parametrize("command", _COMMANDS)
def test_help_of_each_command_explains_it(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert len(capsys.readouterr().out) > 300


@pytest.mark.slow
def test_doctor_finds_this_environment_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor"])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "another process read 1 MiB by a proxy of" in printed
    assert "connector file" in printed


@pytest.mark.slow
def test_doctor_says_which_implementation_proxies_have(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROXYSTORE_PURE_PYTHON", "0")
    main(["doctor"])
    as_installed = "of C" if find_spec("proxystore.proxy._c") else "of pure Python, 3 to 5 times"
    assert as_installed in capsys.readouterr().out


def test_doctor_reports_what_a_killed_process_left_and_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A place of its own: any other process of this user may collect in the usual one.
    monkeypatch.setattr("proxystore.connectors._file.media._SHARED_MEMORY", f"{tmp_path}/absent")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / f"proxystore-{os.geteuid()}" / "left"
    left.parent.mkdir(0o700)
    code = "import os, sys; from proxystore.connectors.file import FileConnector; "
    code += "FileConnector(sys.argv[1]).put(bytes(5000)); os._exit(9)"
    subprocess.run([sys.executable, "-c", code, str(left)], check=False, timeout=60)
    assert left.exists()
    main(["doctor"])
    assert "1 directories of dead processes hold" in capsys.readouterr().out
    assert left.exists()


@pytest.mark.slow
def test_the_installed_command_runs_the_demo() -> None:
    command = shutil.which("proxystore", path=sysconfig.get_path("scripts"))
    assert command is not None
    done = subprocess.run(
        [command, "demo", "--mib", "2", "--tasks", "4"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("verified") == 2


def test_a_reader_that_stops_early_is_not_an_error(store: Store[ShmConnector]) -> None:
    for _ in range(50):
        store.put(b"x")
    code = "import sys; from proxystore.cli import main; sys.exit(main(sys.argv[1:]))"
    with subprocess.Popen(
        [sys.executable, "-c", code, "ls", str(store.url)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == b""


def _bytes_of(printed: str, use: str) -> int:
    (line,) = [line for line in printed.splitlines() if line.startswith(f"{use}  ")]
    return int(line.split()[-1])


@pytest.mark.slow
def test_stat_accounts_for_every_byte_of_shared_memory(
    store: Store[ShmConnector], capsys: pytest.CaptureFixture[str]
) -> None:
    large = store.put(bytearray(3_000_000))
    store.put_batch([bytearray(n) for n in range(100, 5000, 100)])
    viewed = store.connector.get(large)
    store.evict(store.put(bytearray(500_000)))
    assert main(["stat"]) == 0
    before = capsys.readouterr().out
    store.evict(large)
    assert main(["stat"]) == 0
    after = capsys.readouterr().out
    assert viewed is not None
    for printed in (before, after):
        lines = printed[: printed.index("\n\n")].splitlines()[1:]
        parts = [int(line.split()[-1]) for line in lines]
        assert sum(parts[:-1]) == parts[-1]
    moved = _bytes_of(after, "files of evicted objects that somebody views")
    assert moved >= 3_000_000
    assert _bytes_of(after, "files waiting to be filled again") >= 500_000


def test_stat_of_a_medium_tells_who_maps_it(
    store: Store[ShmConnector], capsys: pytest.CaptureFixture[str]
) -> None:
    store.put(b"x")
    assert main(["stat", str(store.url)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "mapped by" in line]
    assert str(os.getpid()) in line.split()


def test_top_shows_each_private_directory(
    store: Store[ShmConnector], capsys: pytest.CaptureFixture[str]
) -> None:
    store.put(bytearray(5000))
    assert main(["top", "--rounds", "2", "--delay", "0"]) == 0
    path = str(store.url).partition("?")[0]
    lines = [line for line in capsys.readouterr().out.splitlines() if path in line]
    assert len(lines) == 2
    assert str(os.getpid()) in lines[0]


def test_top_ends_quietly_when_interrupted(store: Store[ShmConnector]) -> None:
    code = "import sys; from proxystore.cli import main; sys.exit(main(['top']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == b""
