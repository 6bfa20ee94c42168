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
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from proxystore_connectors_redis import RedisConnector

# How quickly examples come is no claim, on a busy machine.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")

_STARTED_WITHIN = 20.0


def _program() -> str:
    found = shutil.which("redis-server", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        why = "redis-server is not installed (ci/services redis installs it)"
        if os.environ.get("PROXYSTORE_REQUIRE_SERVICES"):
            pytest.fail(why)
        pytest.skip(why)
    return found


def _free_port(below: int = 65536) -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        # While this one is taken, another is found.
        return port if port < below else _free_port(below)


class RedisServer:
    """A server on a free port of the loopback, and on a unix socket.

    Args:
        folder: Its own.
        options: What follows on the command line.
        port_option: Which takes the port.
        sentinel: A file with what it watches, if it is to be a sentinel.
        below: Of the port; nodes of a cluster talk to each other at the one 10,000 above.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        port_option: str = "--port",
        sentinel: Path | None = None,
        below: int = 65536,
    ) -> None:
        self.folder, self.port = folder, _free_port(below)
        self.socket_path = str(folder / "redis.sock")
        plain = () if port_option == "--port" else ("--port", "0")
        self._command = [
            *(_program(), port_option, str(self.port), *plain, "--bind", "127.0.0.1"),
            *("--unixsocket", self.socket_path, "--dir", str(folder), "--save", ""),
            *options,
        ]
        if sentinel is not None:
            place = (*self._command[1:5], "--unixsocket", self.socket_path)
            self._command = [self._command[0], str(sentinel), *place, "--sentinel"]
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
    yield from _starting(tmp_path_factory)


@pytest.fixture(scope="module")
def start_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RedisServer]]:
    """Starts servers for the tests of one module."""
    yield from _starting(tmp_path_factory)


def _starting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RedisServer]]:
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
    """Passes bytes between clients and a server, and cuts connections once told to.

    Args:
        port: Of the server, on the loopback.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._cut, self._after, self._left, self._times = "", 0, 0, 0
        self.cuts = 0
        """How many connections were cut."""
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, direction: str, after: int, times: int = 1) -> None:
        """End the next ``times`` connections, each ``after`` bytes that pass from now on.

        Args:
            direction: ``"up"`` counts what goes to the server, ``"down"`` what comes from it.
            after: Bytes; those that follow do not pass.
            times: How often.
        """
        with self._lock:
            self._cut, self._after, self._left, self._times = direction, after, after, times

    def close(self) -> None:
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
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                data, is_cut = self._taken(name, data)
                sink.sendall(data)
                if is_cut:
                    break
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _taken(self, name: str, data: bytes) -> tuple[bytes, bool]:
        """What may pass of ``data``, and whether it is the last."""
        with self._lock:
            if name != self._cut or not self._times:
                return data, False
            if len(data) < self._left:
                self._left -= len(data)
                return data, False
            data, self._left = data[: self._left], self._after
            self._times -= 1
            self.cuts += 1
            return data, True


@pytest.fixture
def forwarder(server: RedisServer) -> Iterator[Forwarder]:
    """A forwarder to the shared server."""
    made = Forwarder(server.port)
    yield made
    made.close()


@pytest.fixture
def forwarded(connector: RedisConnector, forwarder: Forwarder) -> Iterator[RedisConnector]:
    """The connector `connector`, through `forwarder`, with a connection made."""
    config = {**connector.config(), "port": forwarder.port}
    with RedisConnector.from_config(config) as made:
        made.exists(made.new_key())
        yield made
