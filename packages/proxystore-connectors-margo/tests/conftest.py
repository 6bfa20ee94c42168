"""The Margo that the tests use: the real one where it imports, else a stand-in.

The header of the output says which. It is a stand-in of Margo's, not of ours: the
store processes of these tests are real.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from proxystore.serving import Place
from proxystore_connectors_margo import MargoConnector

try:
    import mochi.margo as margo
except ImportError:
    # On sys.path, and so on that of the processes that the kit and the connector start.
    sys.path.append(str(Path(__file__).parent / "fake"))
    importlib.invalidate_caches()
    margo = importlib.import_module("mochi.margo")

IS_FAKE = getattr(margo, "IS_FAKE", False)


def pytest_report_header() -> str:
    if IS_FAKE:
        return "mochi.margo: fake (no Mochi here), engines of several processes on unix sockets"
    return f"mochi.margo: real, {margo.__file__}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not IS_FAKE:
        only = pytest.mark.skip(reason="it is about what only the stand-in can be told to do")
        for item in items:
            if item.get_closest_marker("fake_only"):
                item.add_marker(only)


@pytest.fixture(name="margo")
def margo_module() -> ModuleType:
    return margo


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where store processes have their files; none of them may be left."""
    with tempfile.TemporaryDirectory(prefix="margo-") as folder:
        monkeypatch.setenv("PROXYSTORE_RUNTIME_DIR", f"{folder}/run")
        monkeypatch.setenv("MOCHI_FAKE_ROOT", folder)
        yield Path(folder)
        ended = Path(folder, "finalized-in-a-child").exists()
        assert not ended, "a forked child ended the engine of its parent"


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], bool]:
    def holds_within_10_s(holds: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + 10
        while not holds():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    return holds_within_10_s


@pytest.fixture
def kill(eventually: Callable[[Callable[[], bool]], bool]) -> Callable[[MargoConnector], None]:
    """kill -9 of the store process of this node."""

    def killed(connector: MargoConnector) -> None:
        place = Place("margo", connector.config()["namespace"])
        found = place.announced()
        assert found is not None
        os.kill(found.pid, signal.SIGKILL)
        assert eventually(lambda: not place.is_served())

    return killed


@pytest.fixture
def connector() -> Iterator[MargoConnector]:
    """Over $MARGO_PROTOCOL, for a host with fabrics; shared memory otherwise."""
    with MargoConnector(protocol=os.environ.get("MARGO_PROTOCOL", "na+sm")) as connector:
        yield connector
