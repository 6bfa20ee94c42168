"""Redis servers, real ones, and what stands between them and the tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from proxystore_connectors_redis import RedisConnector

_STARTED_WITHIN = 20.0


def _program() -> str:
    found = shutil.which("redis-server", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        why = "redis-server is not installed (ci/services redis installs it)"
        if os.environ.get("PROXYSTORE_REQUIRE_SERVICES"):
            pytest.fail(why)
        pytest.skip(why)
    return found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class RedisServer:
    """A server on a free port of the loopback, and on a unix socket."""

    def __init__(self, folder: Path, *options: str, port_option: str = "--port") -> None:
        self.folder, self.port = folder, _free_port()
        self.socket_path = str(folder / "redis.sock")
        plain = () if port_option == "--port" else ("--port", "0")
        self._command = [
            *(_program(), port_option, str(self.port), *plain, "--bind", "127.0.0.1"),
            *("--unixsocket", self.socket_path, "--dir", str(folder), "--save", ""),
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and return once it answers."""
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        log.close()
        deadline = time.monotonic() + _STARTED_WITHIN
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, "redis-server did not start"
            time.sleep(0.005)

    def _answers(self) -> bool:
        # By its unix socket, which has neither TLS nor, for an error, a password.
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(self.socket_path)
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith((b"+PONG", b"-NOAUTH"))
            except OSError:
                return False

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop_for_a_while(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def client(self, **options: Any) -> Any:
        """redis-py, to see what our code did and to do what it would not."""
        import redis

        return redis.Redis(unix_socket_path=self.socket_path, **options)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that all tests share: each uses a namespace of its own."""
    started = RedisServer(tmp_path_factory.mktemp("r"))
    yield started
    started.kill()


@pytest.fixture
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RedisServer]]:
    """Starts servers for one test, which may ill-treat them."""
    with contextlib.ExitStack() as stack:

        def start(*options: str, **more: Any) -> RedisServer:
            made = RedisServer(tmp_path_factory.mktemp("r"), *options, **more)
            stack.callback(made.kill)
            return made

        yield start


@pytest.fixture
def connector(server: RedisServer) -> Iterator[RedisConnector]:
    """A connector that owns a fresh namespace of the shared server."""
    with RedisConnector("127.0.0.1", server.port) as made:
        yield made


class Forwarder:
    """Passes bytes between clients and a server, until told to cut.

    Args:
        port: Of the server, on the loopback.
        cut_after: How many bytes to pass in the direction ``cut`` before a connection ends.
        cut: ``"up"`` to the server, or ``"down"`` from it.
        times: How many connections to cut; those that come after are left alone.
    """

    def __init__(self, port: int, cut_after: int, cut: str, times: int) -> None:
        self._to, self._cut_after, self._cut, self._left = port, cut_after, cut, times
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                for name, source, sink in (("up", client, server), ("down", server, client)):
                    passing = threading.Thread(
                        target=self._pass, args=(name, source, sink), daemon=True
                    )
                    passing.start()

    def _pass(self, name: str, source: socket.socket, sink: socket.socket) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if name == self._cut and self._left:
                    data = data[: max(0, self._cut_after - passed)]
                    passed += len(data)
                sink.sendall(data)
                if name == self._cut and passed >= self._cut_after and self._cut_one():
                    break
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _cut_one(self) -> bool:
        with self._lock:
            if not self._left:
                return False
            self._left -= 1
            self.cuts += 1
            return True


@pytest.fixture
def forward() -> Iterator[Callable[..., Forwarder]]:
    """Makes forwarders."""
    with contextlib.ExitStack() as stack:

        def make(port: int, cut_after: int, cut: str, times: int = 1) -> Forwarder:
            return stack.enter_context(Forwarder(port, cut_after, cut, times))

        yield make
