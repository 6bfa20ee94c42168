"""Fixtures that several test files share."""

from __future__ import annotations

import os
import select
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import zmq
from hypothesis import HealthCheck, settings

from proxystore.serving import Announcement, Place
from proxystore_connectors_zmq import ZMQConnector, ZMQKey

# How quickly examples come is no claim: a server is asked for each, on a busy machine.
settings.register_profile(
    "untimed",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def runtime() -> Iterator[Path]:
    """The directory of the store processes of all tests, which must be empty after them."""
    with (
        tempfile.TemporaryDirectory(prefix="zmq-") as folder,
        tempfile.TemporaryDirectory(prefix="home-") as home,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("PROXYSTORE_RUNTIME_DIR", folder)
        patch.setenv("PROXYSTORE_HOME", home)
        yield Path(folder)
        left = sorted(path.name for path in Path(folder).iterdir())
        assert left == [], f"store processes that nobody ended: {left}"


@pytest.fixture
def connector(runtime: Path) -> Iterator[ZMQConnector]:
    """One that owns a namespace which other nodes cannot reach."""
    with ZMQConnector() as connector:
        yield connector


@pytest.fixture
def networked(runtime: Path) -> Iterator[ZMQConnector]:
    """One that owns a namespace which other nodes could reach."""
    with ZMQConnector(address="127.0.0.1") as connector:
        yield connector


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    """For sockets of clients that are not ours."""
    with zmq.Context() as context:
        context.linger = 0
        yield context


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], bool]:
    """Says whether something holds within 20 s."""

    def eventually(holds: Callable[[], object]) -> bool:
        deadline = time.monotonic() + 20
        while not holds():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    return eventually


@pytest.fixture
def process_of() -> Callable[[ZMQConnector], Announcement]:
    """Finds the store process of a connector on this node."""

    def process_of(connector: ZMQConnector) -> Announcement:
        connector.put(b"so that there is one")
        found = Place("zmq", connector.config()["namespace"]).announced()
        assert found is not None
        return found

    return process_of


@pytest.fixture
def is_alive() -> Callable[[int], bool]:
    """Says whether a process runs, and is more than a zombie."""

    def is_alive(pid: int) -> bool:
        try:
            status = Path(f"/proc/{pid}/stat").read_text()
        except FileNotFoundError:
            return False
        return status.rpartition(")")[2].split()[0] != "Z"

    return is_alive


@pytest.fixture(scope="session")
def other_runtime(runtime: Path) -> Iterator[Path]:
    """As `runtime`, of another node: no socket of this one is there, as on another machine."""
    with tempfile.TemporaryDirectory(prefix="other-") as folder:
        yield Path(folder)


@pytest.fixture
def other_node(other_runtime: Path) -> dict[str, str]:
    """The environment of a process on another node."""
    return {**os.environ, "PROXYSTORE_RUNTIME_DIR": str(other_runtime)}


class Forwarder:
    """A TCP port that passes on to another one, until a connection has carried so many bytes.

    Args:
        target: Port on the loopback.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._limits: list[int | None] = []
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, *limits: int | None) -> None:
        """Let the next connections carry that many bytes back and forth; `None` for any."""
        self._limits = list(limits)

    def leads_to(self, key: ZMQKey) -> ZMQKey:
        """The key, for who goes by this port."""
        instance = key.where.partition("@")[0]
        return key._replace(where=f"{instance}@127.0.0.1:{self.port}")

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.connections += 1
                limit = self._limits.pop(0) if self._limits else None
                threading.Thread(target=self._carry, args=(near, limit), daemon=True).start()

    def _carry(self, near: socket.socket, limit: int | None) -> None:
        carried = 0
        with near, socket.create_connection(("127.0.0.1", self._target)) as far, suppress(OSError):
            while limit is None or carried < limit:
                ready, _, _ = select.select([near, far], [], [])
                for source in ready:
                    data = source.recv(1 << 16)
                    if not data:
                        return
                    carried += len(data)
                    (far if source is near else near).sendall(data)


@pytest.fixture
def forwarder(networked: ZMQConnector) -> Iterator[Forwarder]:
    """A port that leads to that of `networked`."""
    forwarder = Forwarder(int(networked.config()["home"].rpartition(":")[2]))
    yield forwarder
    forwarder.close()


@pytest.fixture
def far(
    networked: ZMQConnector,
    forwarder: Forwarder,
    other_runtime: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[ZMQConnector]:
    """A connector on another node, which reaches the process of `networked` by the forwarder."""
    config = {**networked.config(), "home": f"127.0.0.1:{forwarder.port}", "timeout": 10.0}
    with monkeypatch.context() as patch:
        patch.setenv("PROXYSTORE_RUNTIME_DIR", str(other_runtime))
        connector = ZMQConnector.from_config(config)
    with connector:
        yield connector
