"""Sites of one machine, and the local stand-in for Globus that moves files between them."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxystore_connectors_globus import GlobusConnector, GlobusEndpoint

CLIENT_ID = "11111111-2222-4333-8444-555555555555"
CLIENT_SECRET = "not-a-real-secret"
POLLING_S = 0.01

_PROGRAM = Path(__file__).with_name("local_globus")


def pytest_report_header() -> str:
    return "Globus: a local stand-in for Globus Transfer and Auth that moves real files"


class LocalGlobus:
    """The stand-in, as a process of its own, and the collections that it knows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.roots: dict[str, Path] = {}
        (folder / "clients.json").write_text(json.dumps({CLIENT_ID: CLIENT_SECRET}))
        self.port = 0
        self.start()

    def reset(self, folder: Path, names: tuple[str, ...]) -> None:
        """Forget everything, and have a collection in a new directory for each name."""
        if self._process.poll() is not None:
            self.start()
        self.roots = {str(uuid.uuid4()): folder / name for name in names}
        for root in self.roots.values():
            root.mkdir()
        roots = json.dumps({collection: str(root) for collection, root in self.roots.items()})
        (self.folder / "collections.json").write_text(roots)
        self._request("/reset", roots.encode())

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_PROGRAM), str(self.folder), "--port", str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        self.url = said.split()[-1]
        self.port = int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.communicate()

    def fault(self, **faults: Any) -> None:
        self._request("/faults", json.dumps(faults).encode())

    def records(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._request(f"/records?kind={kind}")["records"]
        return found

    def tasks(self, kind: str) -> list[dict[str, Any]]:
        return [task for task in self.records("task") if task["type"] == kind]

    def requests(self, path: str) -> int:
        return sum(request["path"].startswith(path) for request in self.records("request"))

    def settle(self) -> None:
        """Return when no task is active."""
        self._request("/await")

    def until_asked(self, path: str, times: int) -> None:
        """Return when there have been so many requests of paths that begin so."""
        self._request(f"/await?path={path}&times={times}")

    def _request(self, path: str, data: bytes | None = None) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", data, timeout=40) as answer:
            return json.load(answer)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "GLOBUS_SDK_SERVICE_URL_TRANSFER": self.url,
            "GLOBUS_SDK_SERVICE_URL_AUTH": self.url,
        }

    def endpoints(self) -> list[GlobusEndpoint]:
        return [
            GlobusEndpoint(collection, "/~/objects", root / "objects", root.name)
            for collection, root in self.roots.items()
        ]


class Sites:
    """Connectors at sites of this machine."""

    def __init__(self, globus: LocalGlobus, monkeypatch: pytest.MonkeyPatch) -> None:
        self.globus = globus
        self._monkeypatch = monkeypatch
        self.uuids = list(globus.roots)

    def go(self, site: int) -> None:
        """Let connectors that are made from now on, and new processes, be at this site."""
        self._monkeypatch.setenv("PROXYSTORE_GLOBUS_COLLECTION", self.uuids[site])

    def make(self, site: int = 0, **options: Any) -> GlobusConnector:
        self.go(site)
        options = {"polling_interval": POLLING_S, "timeout": 10.0, **options}
        return GlobusConnector(self.globus.endpoints(), **options)

    def at(self, site: int, connector: GlobusConnector, **changes: Any) -> GlobusConnector:
        """A connector at a site that is rebuilt from the config of another one."""
        self.go(site)
        return GlobusConnector.from_config({**connector.config(), **changes})

    def file(self, site: int, connector: GlobusConnector, name: str = "") -> Path:
        root = self.globus.roots[self.uuids[site]]
        return root / "objects" / connector.config()["namespace"] / name


class CuttingForwarder:
    """Stands between the SDK and the stand-in, and cuts connections while they answer."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.cuts: list[int] = []
        """After how many bytes of answers to cut each of the next connections."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        left = self.cuts.pop(0) if self.cuts else -1
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            up = threading.Thread(target=_pump, args=(client, server, -1), daemon=True)
            up.start()
            _pump(server, client, left)


def _pump(source: socket.socket, target: socket.socket, left: int) -> None:
    with contextlib.suppress(OSError):
        while left and (data := source.recv(65536)):
            data = data if left < 0 else data[:left]
            target.sendall(data)
            left -= len(data) if left > 0 else 0
        for end in (source, target):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def forwarder(globus: LocalGlobus, sites: Sites) -> Iterator[CuttingForwarder]:
    between = CuttingForwarder(globus.port)
    yield between
    between.close()


@pytest.fixture(scope="session")
def _local_globus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGlobus]:
    stand_in = LocalGlobus(tmp_path_factory.mktemp("globus"))
    yield stand_in
    stand_in.kill()


@pytest.fixture
def globus(_local_globus: LocalGlobus, tmp_path: Path) -> LocalGlobus:
    _local_globus.reset(tmp_path, ("alpha", "beta", "gamma"))
    return _local_globus


@pytest.fixture
def login(globus: LocalGlobus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service account, by the environment, which new processes inherit."""
    for name, value in globus.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PROXYSTORE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PROXYSTORE_GLOBUS_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("PROXYSTORE_GLOBUS_CLIENT_SECRET", CLIENT_SECRET)
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)


@pytest.fixture
def sites(globus: LocalGlobus, login: None, monkeypatch: pytest.MonkeyPatch) -> Sites:
    return Sites(globus, monkeypatch)


@pytest.fixture
def here(sites: Sites) -> Iterator[GlobusConnector]:
    """The owner of a fresh namespace, at site 0."""
    with sites.make() as connector:
        yield connector


@pytest.fixture
def there(sites: Sites, here: GlobusConnector) -> Iterator[GlobusConnector]:
    """The same namespace, as site 1 sees it."""
    with sites.at(1, here) as connector:
        yield connector
