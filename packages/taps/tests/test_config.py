from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taps.apps.mapreduce import MapReduceConfig
from taps.errors import UnknownPluginError, UsageError
from taps.executors.threads import ThreadPoolConfig
from taps.run import Config
from taps.run.config import merged
from taps.run.options import parse_run


def app_of(*arguments: str) -> Any:
    return parse_run(["--app", "mapreduce", *arguments]).app


def test_options_have_dashes_or_underscores() -> None:
    assert app_of("--app.map-tasks", "3").map_tasks == 3
    assert app_of("--app.map_tasks=3").map_tasks == 3


def test_the_default_executor_is_a_process_pool_and_nothing_is_transformed() -> None:
    engine = parse_run(["--app", "mapreduce"]).engine
    assert (engine.executor.name, engine.transformer, engine.filter) == ("process-pool", None, None)


@pytest.mark.parametrize("prefix", ["--executor", "--engine.executor"])
def test_the_executor_has_a_short_and_a_long_option(prefix: str) -> None:
    arguments = ["--app", "mapreduce", prefix, "thread-pool", f"{prefix}.max-threads", "3"]
    assert parse_run(arguments).engine.executor == ThreadPoolConfig(max_threads=3)


def test_none_is_a_value_on_the_command_line() -> None:
    arguments = ["--transformer", "none", "--filter", "none", "--app.map-tasks", "none"]
    config = parse_run(["--app", "mapreduce", *arguments])
    assert isinstance(config.app, MapReduceConfig)
    assert (config.engine.transformer, config.engine.filter, config.app.map_tasks) == (None,) * 3


def test_lists_are_separated_by_commas_or_are_json() -> None:
    select = ["--app", "mapreduce", "--transformer", "proxystore"]
    select += ["--filter", "object-type", "--filter.patterns"]
    for text in ("str,bytes", '["str", "bytes"]'):
        config = parse_run([*select, text])
        assert config.engine.filter.patterns == ("str", "bytes")  # type: ignore[union-attr]


def test_later_files_override_earlier_ones_and_options_override_files(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(
        'app = "mapreduce"\n[engine.executor]\nname = "thread-pool"\nmax_threads = 2\n'
    )
    (tmp_path / "b.toml").write_text(
        '[app]\nname = "mapreduce"\nmap_tasks = 4\ntop = 5\n[engine.executor]\nmax_threads = 3\n'
    )
    files = ["-c", str(tmp_path / "a.toml"), str(tmp_path / "b.toml")]
    config = parse_run([*files, "--app.top", "6"])
    assert isinstance(config.app, MapReduceConfig)
    assert (config.app.map_tasks, config.app.top) == (4, 6)
    assert config.engine.executor == ThreadPoolConfig(max_threads=3)


def test_selecting_another_plugin_drops_the_options_of_the_first() -> None:
    below = {"engine": {"executor": {"name": "thread-pool", "max_threads": 2}}}
    above = {"engine": {"executor": "serial"}}
    assert merged(below, above) == {"engine": {"executor": {"name": "serial"}}}


@pytest.mark.parametrize(
    "extra",
    [
        [],
        ["--app.map-tasks", "none", "--app.data-dir", "texts"],
        ["--transformer", "file", "--file-dir", "x"],
        ["--transformer", "proxystore", "--filter", "object-size", "--filter.min-size", "10"],
        ["--engine.task-record-file-name", "none", "--run.env-vars", '{"A": "1"}'],
    ],
)
def test_a_configuration_survives_its_file(tmp_path: Path, extra: list[str]) -> None:
    extra = [argument.replace("--file-dir", "--transformer.file-dir") for argument in extra]
    config = parse_run(["--app", "mapreduce", *extra])
    config.write_toml(tmp_path / "config.toml")
    assert Config.from_toml(tmp_path / "config.toml") == config


def test_paths_are_absolute(tmp_path: Path) -> None:
    assert app_of("--app.data-dir", "texts").data_dir == Path.cwd() / "texts"


def test_the_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = parse_run(["--app", "mapreduce"])
    for name in ("APP", "app", "NAME", "name", "ENGINE", "MAP_TASKS", "TOP", "LEVEL", "RUN"):
        monkeypatch.setenv(name, '{"name": "wrong"}')
    assert parse_run(["--app", "mapreduce"]) == plain


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "No app is selected"),
        (["--app", "mapreduec"], "Did you mean 'mapreduce'"),
        (["--app", "mapreduce", "--app.map-taks", "3"], "Did you mean '--app.map-tasks'"),
        (["--app", "mapreduce", "--app.map-tasks", "0"], "--app.map-tasks cannot be '0'"),
        (["--app", "mapreduce", "--app.map-tasks", "many"], "--app.map-tasks cannot be 'many'"),
        (["--app", "mapreduce", "--executor", "thred-pool"], "Did you mean 'thread-pool'"),
        (["--app", "mapreduce", "--app.map-tasks"], "expected one argument"),
        (["--app", "mapreduce", "spare"], "'spare'"),
        (["--app", "mapreduce", "--transformer", "file"], "--transformer.file-dir has no default"),
        (["--app", "mapreduce", "--run.dir-format", "{nam}"], "'nam'"),
        (["--app", "mapreduce", "--run.env-vars", "{"], "is not JSON"),
        (["--app", "mapreduce", "--logging.level", "LOUD"], "the levels are DEBUG"),
        (["-c", "absent.toml"], "absent.toml"),
    ],
)
def test_a_mistake_is_named_with_what_would_be_right(arguments: list[str], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_run(arguments)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('app = "mapreduce"\n[engine]\nexecuter = "serial"\n', "Did you mean 'executor'"),
        ('[app]\nname = "mapreduce"\nmap_taks = 1\n', "Did you mean 'map-tasks'"),
        ("app = [1\n", "Cannot read"),
        ('app = "mapreduce"\nengine = 3\n', "'engine' is not a table"),
        ("[app]\nmap_tasks = 1\n", "no name says what it is"),
    ],
)
def test_a_mistake_in_a_file_is_named_too(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        parse_run(["-c", str(tmp_path / "bad.toml")])
    assert says in str(caught.value)


def test_none_inside_the_value_of_an_option_stays_text() -> None:
    config = parse_run(["--app", "mapreduce", "--run.env-vars", '{"BACKEND": "none"}'])
    assert config.run.env_vars == {"BACKEND": "none"}


def test_an_unknown_plugin_lists_the_known_ones() -> None:
    with pytest.raises(UnknownPluginError, match="process-pool, serial, thread-pool"):
        Config.from_mapping({"app": "mapreduce", "engine": {"executor": "x"}})
