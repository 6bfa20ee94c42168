"""The DAOS that the tests use: the real one where pydaos imports, else a fake, said in the header.

For the real one, name a pool and a container of type PYTHON in $DAOS_POOL and $DAOS_CONTAINER.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from uuid import uuid4

import pytest

from proxystore_connectors_daos import DAOSConnector

if importlib.util.find_spec("pydaos") is None:
    # On sys.path, and so on that of the processes that the kit starts.
    sys.path.append(str(Path(__file__).parent / "fake"))

import pydaos

IS_FAKE = getattr(pydaos, "IS_FAKE", False)


class Container(NamedTuple):
    """A container to use, and what only tests know of it."""

    pool: str
    name: str
    folder: Path | None
    """The directory of the pool, if it is a fake."""

    def connector(self, namespace: str | None = None, **options: bool) -> DAOSConnector:
        return DAOSConnector(self.pool, self.name, namespace or uuid4().hex, **options)


def pytest_report_header() -> str:
    return "pydaos: fake (no DAOS here)" if IS_FAKE else f"pydaos: real, {pydaos.__file__}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not IS_FAKE:
        only = pytest.mark.skip(reason="a real DAOS would have to be broken for it")
        for item in items:
            if item.get_closest_marker("fake_only"):
                item.add_marker(only)


@pytest.fixture(name="pydaos")
def pydaos_module() -> ModuleType:
    return pydaos


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:
    if not IS_FAKE:
        yield Container(os.environ["DAOS_POOL"], os.environ["DAOS_CONTAINER"], None)
        return
    monkeypatch.setenv("PYDAOS_FAKE_ROOT", str(tmp_path))
    (tmp_path / "tank" / "neo").mkdir(parents=True)
    yield Container("tank", "neo", tmp_path / "tank")
    assert not (tmp_path / "closed-in-a-child").exists(), "a forked child closed its parent's"


@pytest.fixture
def connector(container: Container) -> Iterator[DAOSConnector]:
    with container.connector() as connector:
        yield connector


@pytest.fixture
def entries(container: Container, pydaos: ModuleType) -> Callable[[DAOSConnector], list[str]]:
    """The names of what lies in a connector's namespace, seen without it."""

    def names(connector: DAOSConnector) -> list[str]:
        namespace = connector.config()["namespace"]
        return sorted(pydaos.DCont(container.pool, container.name).get(namespace))

    return names
