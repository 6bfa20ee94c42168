"""Real servers and real processes, and stores in each kind of medium."""

from __future__ import annotations

import gc
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector
from proxystore.connectors.shm import ShmConnector
from proxystore.store import Store
from proxystore_patterns.lifetimes._ledger import LEDGER

# How quickly examples come is no claim, on a busy machine.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")

_STARTED_WITHIN = 20.0


@pytest.fixture(autouse=True)
def _quick_collections() -> Iterator[None]:
    """Leaves what was there before out of garbage collections, of which some tests make thousands.

    Where Dask and Parsl have been imported, each takes half a second otherwise.
    """
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def user_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's directory of the test's own."""
    monkeypatch.setenv("PROXYSTORE_HOME", str(tmp_path / "home"))
    # As for a process that has noted nothing yet; it goes on in one file otherwise.
    LEDGER.remade_in_child()
    return tmp_path / "home"


class RedisServer:
    """A server on a free port of the loopback, that keeps nothing unless ``options`` say so."""

    def __init__(self, folder: Path, *options: str) -> None:
        program = shutil.which("redis-server", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if program is None:
            why = "redis-server is not installed (ci/services redis installs it)"
            if os.environ.get("PROXYSTORE_REQUIRE_SERVICES"):
                pytest.fail(why)
            pytest.skip(why)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._folder = folder
        self._command = [
            *(program, "--port", str(self.port), "--bind", "127.0.0.1"),
            *("--dir", str(folder), "--save", "", *options),
        ]
        self.start()

    @property
    def place(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def start(self) -> None:
        """Start it, and return once it answers."""
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + _STARTED_WITHIN
        while not self._answers():
            assert self.process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline, "redis-server did not start"
            time.sleep(0.005)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(self.place, timeout=1) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let it hang for the block: it takes connections, and answers nobody."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9. Idempotent."""
        self.process.kill()
        self.process.wait()

    def client(self) -> Any:
        """redis-py, to see what our code did."""
        import redis

        return redis.Redis(*self.place)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that all tests share: each uses a namespace, or topics, of its own."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def start_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RedisServer]]:
    """Starts servers for one test, which may ill-treat them."""
    with ExitStack() as stack:

        def start(*options: str) -> RedisServer:
            made = RedisServer(tmp_path_factory.mktemp("redis"), *options)
            stack.callback(made.kill)
            return made

        yield start


@pytest.fixture
def own_redis_server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """A server that the test may ill-treat."""
    return start_redis()


def _redis(port: int) -> Any:
    connectors = pytest.importorskip("proxystore_connectors_redis")
    return connectors.RedisConnector("127.0.0.1", port, timeout=5)


@pytest.fixture
def make_store(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[..., Store[Any]]]:
    """Makes stores by the name of a medium."""
    connectors: dict[str, Callable[[], Any]] = {
        "local": LocalConnector,
        "shm": ShmConnector,
        "file": lambda: FileConnector(tmp_path / "objects"),
        "redis": lambda: _redis(request.getfixturevalue("redis_server").port),
    }
    with ExitStack() as stack:
        yield lambda medium, **options: stack.enter_context(
            Store(f"in-{medium}", connectors[medium](), **options)
        )


@pytest.fixture(params=["shm", "file", "redis"])
def store(request: pytest.FixtureRequest, make_store: Callable[..., Store[Any]]) -> Store[Any]:
    """A store that other processes of this host see."""
    return make_store(request.param)


class Process:
    """Another interpreter that runs code, which has ``given`` and may `say` things."""

    def __init__(self, code: str, given: object) -> None:
        lines = (
            "import pickle, sys",
            "given = pickle.load(sys.stdin.buffer)",
            "def say(thing):",
            "    pickle.dump(thing, sys.stdout.buffer); sys.stdout.flush()",
            code,
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", "\n".join(lines)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.pid = self._process.pid
        assert self._process.stdin is not None
        pickle.dump(given, self._process.stdin)
        self._process.stdin.flush()

    def hear(self) -> Any:
        """The next thing that it says."""
        assert self._process.stdout is not None
        return pickle.load(self._process.stdout)

    def tell(self) -> None:
        """End what waits for a line of its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9, and wait until it is dead."""
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()

    def wait(self) -> int:
        self._process.communicate(timeout=60)
        return self._process.returncode


@pytest.fixture
def run() -> Iterator[Callable[..., Process]]:
    """Runs code in another interpreter, beside the test, and kills it after that."""
    with ExitStack() as stack:

        def start(code: str, given: object = None) -> Process:
            process = Process(code, given)
            stack.callback(process.kill)
            return process

        yield start
