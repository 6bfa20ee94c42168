"""`proxystore.connectors`: every connector of the family by one import, or what to install."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import proxystore.connectors
from proxystore.connectors._catalog import BUILT_IN, SEPARATE, short_name
from proxystore.connectors.file import FileConnector
from proxystore.connectors.load import (
    adapt,
    connector_from_config,
    connector_from_url,
    connector_type,
    kind_of,
)
from proxystore.connectors.local import LocalConnector
from proxystore.errors import ConfigError, ConnectorNotInstalledError


def test_built_in_connectors_are_behind_the_door() -> None:
    from proxystore.connectors import FileConnector as Found

    assert Found is FileConnector


@pytest.mark.parametrize("entry", SEPARATE, ids=lambda entry: entry.kind)
def test_a_connector_that_is_not_installed_says_what_to_install(entry: Any) -> None:
    if find_spec(entry.module) is not None:
        pytest.skip(f"{entry.distribution} is installed here")
    advice = rf"from its wheel, or .*: pip install \./packages/{entry.distribution}$"
    with pytest.raises(ImportError, match=advice) as caught:
        getattr(proxystore.connectors, entry.class_name)
    assert isinstance(caught.value, ConnectorNotInstalledError)
    assert caught.value.asked == entry.class_name
    assert "FileConnector" in caught.value.installed
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_an_unknown_name_is_an_attribute_error_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match="Did you mean 'RedisConnector'"):
        proxystore.connectors.RedsConnector
    with pytest.raises(ImportError, match="cannot import name"):
        from proxystore.connectors import RedsConnector  # noqa: F401


@pytest.mark.parametrize("name", ["_file_connector", "__wrapped__", "_RedisConnector"])
def test_private_names_are_plainly_absent(name: str) -> None:
    assert not hasattr(proxystore.connectors, name)


def test_an_installed_connector_is_found_without_a_scan(
    tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    (tmp_path / "proxystore_connectors_redis.py").write_text("class RedisConnector: ...\n")
    code = """
sys.path.insert(0, given)
from proxystore.connectors import RedisConnector
result = RedisConnector.__module__, "importlib.metadata" in sys.modules
"""
    assert run_python(code, str(tmp_path)) == ("proxystore_connectors_redis", False)


def test_an_installed_connector_that_cannot_be_imported_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "proxystore_connectors_zmq.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "proxystore_connectors_zmq", raising=False)
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        proxystore.connectors.ZMQConnector


def test_opening_the_door_imports_no_connector(run_python: Callable[..., Any]) -> None:
    code = """
import proxystore.connectors
result = sorted(m for m in sys.modules if m.startswith("proxystore.connectors."))
"""
    assert run_python(code) == ["proxystore.connectors._catalog"]


def test_the_door_lists_what_is_behind_it() -> None:
    names = {entry.class_name for entry in (*BUILT_IN, *SEPARATE)}
    assert names == set(proxystore.connectors.__all__)
    assert names <= set(dir(proxystore.connectors))


def test_type_checkers_are_told_of_every_connector() -> None:
    stub = Path(proxystore.connectors.__file__).with_suffix(".pyi").read_text()
    for entry in (*BUILT_IN, *SEPARATE):
        assert f"from {entry.module} import {entry.class_name} as {entry.class_name}" in stub


# --- Loading by kind, URL and config --------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        "file",
        "File",
        "fileconnector",
        "FileConnector",
        "proxystore.connectors.file:FileConnector",
        "proxystore.connectors.file.FileConnector",
    ],
)
def test_a_connector_has_several_names(kind: str) -> None:
    assert connector_type(kind) is FileConnector


def test_short_names_leave_out_case_and_suffix() -> None:
    assert {short_name(name) for name in ("redis", "Redis", "RedisConnector")} == {"redis"}


def test_the_kind_of_a_connector_leads_back_to_its_class(tmp_path: Path) -> None:
    assert kind_of(LocalConnector()) == "local"
    with FileConnector(tmp_path / "objects") as connector:
        assert connector_type(kind_of(connector)) is FileConnector
    assert kind_of(object()) == "builtins:object"


@pytest.mark.slow
def test_an_installed_distribution_adds_a_kind_which_is_the_one_named_like_its_class(
    tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    (tmp_path / "others_connector.py").write_text("class OtherConnector: ...\n")
    info = tmp_path / "others-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[proxystore.connectors]\nalias = others_connector:OtherConnector\n"
        "other = others_connector:OtherConnector\n"
    )
    code = """
sys.path.insert(0, given)
from proxystore.connectors.load import connector_type, kind_of
cls = connector_type("OtherConnector")
result = cls.__name__, kind_of(cls())
"""
    assert run_python(code, str(tmp_path)) == ("OtherConnector", "other")


@pytest.mark.parametrize("url", ["/no/scheme", "fil:///directory", "local:///x"])
def test_a_url_of_no_connector_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"scheme|Did you mean 'file'|cannot be made from a URL"):
        connector_from_url(url)


class ThirdPartyConnector:
    def __init__(self, host: str, port: int = 0) -> None: ...

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ThirdPartyConnector:
        return cls(**config)


def test_an_option_that_a_connector_lacks_is_named_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The name under which pytest imported this file need not be importable.
    monkeypatch.setitem(sys.modules, "third_party", ModuleType("third_party"))
    monkeypatch.setattr("third_party.ThirdPartyConnector", ThirdPartyConnector, raising=False)
    with pytest.raises(ConfigError, match=r"option 'hst'.*Did you mean 'host'.*Known: host, port"):
        connector_from_config("third_party:ThirdPartyConnector", {"hst": "a"})


def test_what_states_its_capabilities_is_not_adapted() -> None:
    connector = LocalConnector()
    assert adapt(connector) is connector
