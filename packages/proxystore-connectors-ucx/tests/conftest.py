"""Namespaces of their own for each test, and store processes as others would meet them."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from proxystore.errors import ProxyStoreError
from proxystore.serving import Place
from proxystore_connectors_ucx import UCXConnector

ELSEWHERE = "elsewhere/00000000"


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A directory for store processes; short, for so are paths of sockets."""
    folder = tempfile.mkdtemp(prefix="ucx-")
    monkeypatch.setenv("PROXYSTORE_RUNTIME_DIR", f"{folder}/here")
    monkeypatch.setenv("PROXYSTORE_HOME", f"{folder}/home")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def opened() -> Iterator[Callable[..., UCXConnector]]:
    """Opens connectors, and closes them after the test."""
    with ExitStack() as stack:

        def open_one(connector: UCXConnector) -> UCXConnector:
            stack.callback(_close, connector)
            return connector

        yield open_one


def _close(connector: UCXConnector) -> None:
    with suppress(ProxyStoreError):
        connector.close()


@pytest.fixture
def connector(opened: Callable[..., UCXConnector]) -> UCXConnector:
    """An owner whose objects stay on this node."""
    return opened(UCXConnector(timeout=5.0))


@pytest.fixture
def networked(opened: Callable[..., UCXConnector]) -> UCXConnector:
    """An owner that other nodes reach, on the loopback interface."""
    return opened(UCXConnector(port=0, timeout=5.0, transports="tcp"))


@pytest.fixture
def remote(
    networked: UCXConnector,
    opened: Callable[..., UCXConnector],
    runtime: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., UCXConnector]:
    """Makes connectors of the networked namespace as another node would have them."""

    def make(**options: object) -> UCXConnector:
        monkeypatch.setenv("PROXYSTORE_RUNTIME_DIR", f"{runtime}/there")
        config = {**networked.config(), "node": ELSEWHERE, **options}
        made = opened(UCXConnector.from_config(config))
        monkeypatch.setenv("PROXYSTORE_RUNTIME_DIR", f"{runtime}/here")
        return made

    return make


@pytest.fixture
def store_pid() -> Callable[[UCXConnector], int]:
    """The process that keeps a connector's objects on this node."""

    def pid(connector: UCXConnector) -> int:
        found = Place("ucx", connector.config()["namespace"]).announced()
        assert found is not None
        return found.pid

    return pid


class Forwarder:
    """Carries bytes between a free port and an address, until it is told to cut."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.cut_after: int | None = None
        """Bytes from the server after which one connection is cut, once."""
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                server = socket.create_connection(self._target)
                for ends in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with suppress(OSError), source, sink:
            while data := source.recv(1 << 16):
                if answers and self.cut_after is not None:
                    data, rest = data[: self.cut_after], len(data) - self.cut_after
                    self.cut_after -= len(data)
                    if rest > 0:
                        self.cut_after = None
                        sink.sendall(data)
                        for end in (source, sink):
                            end.shutdown(socket.SHUT_RDWR)
                        return
                sink.sendall(data)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def forwarder(networked: UCXConnector) -> Iterator[Forwarder]:
    """Stands between other nodes and the store process of the owner."""
    made = Forwarder(networked.config()["address"])
    yield made
    made.close()
