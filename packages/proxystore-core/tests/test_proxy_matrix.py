"""Proxies of all common types do all common things, or are listed as impossible and say so."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from proxystore.factory import SimpleFactory
from proxystore.proxy import Proxy, _pure


def _loaded(path: Path) -> ModuleType:
    """By path, for the tests lie anywhere; and registered, for its classes must pickle."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MATRIX = vars(_loaded(Path(__file__).with_name("proxy_matrix.py")))
TARGETS: dict[str, Callable[[], Any]] = {
    name: make for family in MATRIX["TARGETS"].values() for name, make in family.items()
}
USES: dict[str, Callable[[Any], Any]] = MATRIX["USES"]
outcome = MATRIX["outcome"]


def _recorded(proxy_type: type[Proxy], target: object) -> Any:
    proxy = proxy_type(SimpleFactory(target), target=target, cache_defaults=True)
    del proxy.__proxy_wrapped__
    return proxy


def _resolved(proxy_type: type[Proxy], target: object) -> Any:
    return proxy_type(SimpleFactory(target), target=target)


def _made(name: str) -> Any:
    try:
        return TARGETS[name]()
    except ImportError as error:
        pytest.skip(f"{error.name} is not installed")


def _impossible(use: str, name: str) -> Any:
    entries = MATRIX["IMPOSSIBLE"].get(use, ())
    return next((entry for entry in entries if name in entry.targets), None)


def _needs_c(proxy_type: type[Proxy], use: str, name: str) -> bool:
    is_limited = proxy_type is _pure.Proxy and sys.version_info < (3, 12)
    return is_limited and name in MATRIX["NEEDS_C"].get(use, ())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make_proxy", [_recorded, _resolved])
@pytest.mark.parametrize("name", TARGETS)
def test_a_proxy_does_what_its_target_does_or_is_listed(
    proxy_type: type[Proxy], name: str, make_proxy: Callable[[type[Proxy], object], Any]
) -> None:
    wrong = []
    for use, call in USES.items():
        expected = outcome(call, _made(name))
        if expected[0] == "raises" or name in MATRIX["VARIES"].get(use, ()):
            continue
        found = outcome(call, make_proxy(proxy_type, _made(name)))
        entry = _impossible(use, name)
        if entry is None and not _needs_c(proxy_type, use, name):
            if found != expected:
                wrong.append((use, expected, found))
        elif found == expected:
            wrong.append((use, "is possible", found))
        elif entry is not None and entry.says not in found[1]:
            wrong.append((use, entry.says, found))
    assert wrong == []


@pytest.mark.parametrize("table", ["IMPOSSIBLE", "NEEDS_C", "VARIES"])
def test_what_is_listed_is_in_the_matrix(table: str) -> None:
    listed = MATRIX[table]
    assert set(listed) <= set(USES)
    for entry in listed.values():
        for targets in [each.targets for each in entry] if table == "IMPOSSIBLE" else [entry]:
            assert targets <= set(TARGETS)
