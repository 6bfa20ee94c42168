"""Stores as configuration."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

import proxystore.store
from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector
from proxystore.errors import ConfigError, ConnectorNotInstalledError
from proxystore.store import ConnectorConfig, Store, StoreConfig, Verify, get_or_create_store


def config(**options: Any) -> StoreConfig:
    return StoreConfig(name="demo", connector=ConnectorConfig(kind="local"), **options)


def test_a_store_made_from_the_config_of_another_reaches_the_same_objects(tmp_path: Path) -> None:
    with Store("demo", FileConnector(tmp_path / "objects"), cache_size=3) as store:
        key = store.put("x")
        again = Store.from_config(store.config())
        assert (again.get(key), again.options, again.name) == ("x", store.options, "demo")
        assert again.identity == store.identity


def test_a_store_made_from_a_url_reaches_the_same_objects(tmp_path: Path) -> None:
    with Store("demo", FileConnector(tmp_path / "objects")) as store:
        again = Store.from_url(store.url, name="again", verify=Verify.ALWAYS)
        assert (again.get(store.put("x")), again.name) == ("x", "again")
        assert again.identity == store.identity


@pytest.mark.slow
@given(
    cache_size=st.integers(0, 2**40),
    metrics=st.booleans(),
    verify=st.sampled_from(["auto", "always"]),
    options=st.dictionaries(
        st.text("abc", min_size=1), st.one_of(st.text(), st.integers(-(2**60), 2**60))
    ),
)
def test_a_config_survives_toml(
    tmp_path_factory: pytest.TempPathFactory,
    cache_size: int,
    metrics: bool,
    verify: str,
    options: dict[str, Any],
) -> None:
    path = tmp_path_factory.mktemp("config") / "made" / "store.toml"
    written = StoreConfig(
        name="demo",
        connector=ConnectorConfig(kind="local", options=options),
        cache_size=cache_size,
        metrics=metrics,
        verify=verify,
    )
    written.write_toml(path)
    assert StoreConfig.from_toml(path) == written


def test_a_config_with_a_function_is_no_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot hold a function"):
        config(serializer=str.encode).write_toml(tmp_path / "store.toml")


def test_a_typo_in_a_file_names_file_and_nearest_option(tmp_path: Path) -> None:
    path = tmp_path / "store.toml"
    path.write_text('name = "demo"\ncache_sise = 3\n[connector]\nkind = "file"\n')
    with pytest.raises(ConfigError, match=r"'cache_sise'.*store.toml.*Did you mean 'cache_size'"):
        StoreConfig.from_toml(path)


def test_a_wrong_value_in_a_file_names_file_and_option(tmp_path: Path) -> None:
    path = tmp_path / "store.toml"
    path.write_text('name = "demo"\ncache_size = -3\n[connector]\nkind = "file"\n')
    with pytest.raises(ConfigError, match=r"store.toml: cache_size"):
        StoreConfig.from_toml(path)


@pytest.mark.parametrize("make", [Store.from_config, get_or_create_store])
@pytest.mark.parametrize(
    ("connector", "found"),
    [
        ('kind = "fil"', "connector 'fil' in file .*Did you mean 'file'"),
        ('kind = "file"\noptions.stor_dir = "/x"', "'stor_dir'.* in file .*mean 'store_dir'"),
        ('kind = "file"\noptions.store_dir = "x"', "directory 'x' in file .*absolute path"),
    ],
    ids=["kind", "option", "relative"],
)
def test_a_mistake_about_the_connector_in_a_file_names_the_file(
    tmp_path: Path, connector: str, found: str, make: Callable[[StoreConfig], object]
) -> None:
    path = tmp_path / "store.toml"
    path.write_text(f'name = "demo"\n[connector]\n{connector}\n')
    read = pickle.loads(pickle.dumps(StoreConfig.from_toml(path)))
    with pytest.raises(ConfigError, match=found) as caught:
        make(read)
    assert str(path) in str(caught.value)


def test_a_file_that_is_absent_is_named(tmp_path: Path) -> None:
    path = tmp_path / "absent.toml"
    with pytest.raises(ConfigError, match=f"file {path}: it cannot be read"):
        StoreConfig.from_toml(path)


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store.toml"
    path.write_text("name: demo")
    with pytest.raises(ConfigError, match=r"store\.toml: it is no TOML"):
        StoreConfig.from_toml(path)


@pytest.mark.parametrize("given", [{"name": "demo", "connector": {"kind": "local"}}, "store.toml"])
def test_what_is_no_config_is_refused_with_what_makes_one(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"model_validate.*from_toml"):
        Store.from_config(given)


def test_a_typo_in_code_names_the_nearest_option() -> None:
    with pytest.raises(ValidationError, match="Did you mean 'metrics'"):
        config(metric=True)


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("fil", ConfigError, "Did you mean 'file'.*Known: file, local, multi"),
        ("redis", ConnectorNotInstalledError, r"pip install \./packages/.*-redis"),
        ("no.such.Thing", ConfigError, "cannot be imported"),
        ("json:dumps", ConfigError, "not a class"),
    ],
)
def test_an_unknown_connector_is_named_with_what_is_known(
    kind: str, error: type[Exception], message: str
) -> None:
    unknown = StoreConfig(name="demo", connector=ConnectorConfig(kind=kind))
    with pytest.raises(error, match=message):
        Store.from_config(unknown)


def test_an_unknown_option_of_a_connector_is_named_with_the_nearest(tmp_path: Path) -> None:
    typo = ConnectorConfig(kind="file", options={"stor_dir": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"'stor_dir' of connector 'file'.*'store_dir'"):
        Store.from_config(StoreConfig(name="demo", connector=typo))


def test_a_connector_is_made_by_its_config(tmp_path: Path) -> None:
    made = ConnectorConfig(kind="FileConnector", options={"store_dir": str(tmp_path / "objects")})
    with made.get_connector() as connector:
        assert isinstance(connector, FileConnector)
        assert made.get_connector_type() is FileConnector
        assert (tmp_path / "objects").is_dir()


def test_a_config_registers_its_store_if_it_says_so() -> None:
    with Store("registers", LocalConnector(), register=True) as store:
        assert store.config().auto_register


def test_a_config_is_a_field_of_another_model(tmp_path: Path) -> None:
    class Experiment(BaseModel):
        store: StoreConfig
        rounds: int = 1

    experiment = Experiment(store=config(cache_size=3))
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment
    assert json.loads(experiment.model_dump_json())["store"]["verify"] == "auto"
    with pytest.raises(ValidationError, match="Did you mean 'connector'"):
        Experiment.model_validate({"store": {"name": "x", "conector": {}}})


def test_stores_know_no_name_that_they_do_not_publish() -> None:
    with pytest.raises(AttributeError, match="StoreConfg"):
        proxystore.store.StoreConfg


def test_importing_stores_imports_nothing_heavy(run_python: Callable[..., Any]) -> None:
    code = """
import proxystore.store
heavy = {"pydantic", "numpy", "importlib.metadata", "asyncio", "inspect", "hashlib", "logging"}
result = sorted(heavy & set(sys.modules))
"""
    assert run_python(code) == []


@pytest.mark.parametrize(
    ("options", "found"),
    [({"stor_dir": "/x"}, "Did you mean 'store_dir'"), ({}, "store_dir")],
    ids=["typo", "missing"],
)
def test_a_connector_whose_options_do_not_fit_is_a_config_error(
    options: dict[str, str], found: str
) -> None:
    with pytest.raises(ConfigError, match=found):
        ConnectorConfig(kind="file", options=options).get_connector()
