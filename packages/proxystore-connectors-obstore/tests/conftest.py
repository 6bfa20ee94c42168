"""Real S3 servers, and a network that misbehaves on request."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings

from proxystore_connectors_obstore import ObstoreConnector

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

BUCKET = "bucket"
KEYS = {"OBSTORE_TEST_ID": "identifier", "OBSTORE_TEST_KEY": "not-for-anybody"}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Moto:
    """A moto server, a process of its own."""

    def __init__(self, **environment: str) -> None:
        self.port = _free_port()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )
        self._wait()
        self.client.create_bucket(Bucket=BUCKET)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEYS["OBSTORE_TEST_ID"],
            aws_secret_access_key=KEYS["OBSTORE_TEST_KEY"],
        )

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "moto ended at once"
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("moto did not listen within 60 s")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Forwarder:
    """Passes bytes between clients and a server: until told to cut, to hold or to crawl."""

    def __init__(self, target: int, port: int = 0) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", port))
        self.port: int = self._server.getsockname()[1]
        self.cut_up_after: int | None = None
        """Bytes from the clients, after which connections are cut."""
        self.cut_down_after: int | None = None
        self.cuts_left = 1
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.down_per_second: float | None = None
        """Bytes per second that a connection brings."""
        self.replaced: tuple[bytes, bytes] = (b"", b"")
        """What is said by clients, and what the server hears of it."""
        self._before: tuple[bytes, Callable[[], None]] | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def before(self, said: bytes, action: Callable[[], None]) -> None:
        """Do ``action`` once, before what clients said with ``said`` in it is passed on."""
        self._before = (said, action)

    def close(self) -> None:
        self.goes_on.set()
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            for arguments in ((client, server, "up"), (server, client, "down")):
                threading.Thread(target=self._pass, args=arguments, daemon=True).start()

    def _heard(self, data: bytes) -> bytes:
        before = self._before
        if before is not None and before[0] in data:
            self._before = None
            before[1]()
        said, heard = self.replaced
        return data.replace(said, heard) if said else data

    def _pass(self, source: socket.socket, target: socket.socket, way: str) -> None:
        passed = 0
        try:
            while data := source.recv(1 << 16):
                self.goes_on.wait(60)
                if way == "up":
                    data = self._heard(data)
                passed += len(data)
                limit = self.cut_up_after if way == "up" else self.cut_down_after
                if limit is not None and passed > limit and self.cuts_left > 0:
                    self.cuts_left -= 1
                    break
                target.sendall(data)
                if way == "down" and self.down_per_second is not None:
                    time.sleep(len(data) / self.down_per_second)
        except OSError:
            pass
        for each in (source, target):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the references in `s3_options` lead to, and nothing of the machine's own."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    server = Moto()
    yield server
    server.kill()


@pytest.fixture
def start_moto() -> Iterator[Callable[..., Moto]]:
    """Starts servers of the test's own."""
    servers: list[Moto] = []

    def start(**environment: str) -> Moto:
        servers.append(Moto(**environment))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def forward() -> Iterator[Callable[..., Forwarder]]:
    """Starts forwarders to a port."""
    forwarders: list[Forwarder] = []

    def start(target: int, port: int = 0) -> Forwarder:
        forwarders.append(Forwarder(target, port))
        return forwarders[-1]

    yield start
    for forwarder in forwarders:
        forwarder.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[bytes], bytes]], int]]:
    """Starts servers that answer each request by what a function makes of its head."""
    listening: list[socket.socket] = []

    def start(answer: Callable[[bytes], bytes]) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        listening.append(server)
        threading.Thread(target=_answer_each, args=(server, answer), daemon=True).start()
        return int(server.getsockname()[1])

    yield start
    for server in listening:
        server.close()


def _answer_each(server: socket.socket, answer: Callable[[bytes], bytes]) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        with client:
            try:
                client.sendall(answer(client.recv(1 << 16)))
                client.shutdown(socket.SHUT_WR)
                while client.recv(1 << 16):
                    pass
            except OSError:
                pass


@pytest.fixture
def s3_options(moto: Moto) -> dict[str, Any]:
    """A url of its own for each test, and what else a connector to it needs."""
    return {
        "url": f"s3://{BUCKET}/tests/{uuid4().hex}",
        "endpoint": moto.endpoint,
        "access_key_id": "env:OBSTORE_TEST_ID",
        "secret_access_key": "env:OBSTORE_TEST_KEY",
    }


@pytest.fixture
def connector(s3_options: dict[str, Any]) -> Iterator[ObstoreConnector]:
    with ObstoreConnector(**s3_options) as connector:
        yield connector


@pytest.fixture
def prefix_of() -> Callable[[ObstoreConnector], str]:
    """Gives the prefix of a connector to S3."""
    return lambda connector: str(connector.config()["url"]).removeprefix(f"s3://{BUCKET}/")
