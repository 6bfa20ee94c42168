"""The configuration of a run, from files and command-line values, and back to a file.

Nothing here looks at the environment: a run is what its configuration says.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError, field_validator

from taps.apps.abc import AppConfig
from taps.errors import UsageError
from taps.executors import ExecutorConfig
from taps.filters import FilterConfig
from taps.plugins import Plugin, PluginConfig, load_plugin
from taps.run._problems import problems_of
from taps.transformers import TransformerConfig

__all__ = [
    "DEFAULTS",
    "SELECTIONS",
    "Config",
    "EngineConfig",
    "LoggingConfig",
    "RunConfig",
    "merged",
    "read_toml",
    "selected",
]

SELECTIONS: dict[tuple[str, ...], tuple[Plugin, type[PluginConfig]]] = {
    ("app",): (Plugin.APP, AppConfig),
    ("engine", "executor"): (Plugin.EXECUTOR, ExecutorConfig),
    ("engine", "transformer"): (Plugin.TRANSFORMER, TransformerConfig),
    ("engine", "filter"): (Plugin.FILTER, FilterConfig),
}
"""Where in a configuration a plugin is selected, by ``name``."""

DEFAULTS: dict[str, Any] = {"engine": {"executor": {"name": "process-pool"}}}
"""What is selected where a configuration says nothing."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True, frozen=True)


class EngineConfig(_Section):
    """How tasks are run."""

    executor: SerializeAsAny[ExecutorConfig] = Field(description="runs the tasks")
    transformer: SerializeAsAny[TransformerConfig] | None = Field(
        default=None, description="passes objects by reference"
    )
    filter: SerializeAsAny[FilterConfig] | None = Field(
        default=None, description="says which objects are transformed; none means all"
    )
    task_record_file_name: str | None = Field(
        default="tasks.jsonl", description="file of task records in the run directory"
    )


class LoggingConfig(_Section):
    """What is logged, and where."""

    level: str = Field(default="WARNING", description="smallest level shown on the terminal")
    file_level: str = Field(default="INFO", description="smallest level written to the file")
    file_name: str | None = Field(default="log.txt", description="log file in the run directory")

    @field_validator("level", "file_level")
    @classmethod
    def _is_level(cls, level: str) -> str:
        levels = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
        if level.upper() not in levels:
            raise ValueError(f"{level!r} is not a level; the levels are {', '.join(levels)}")
        return level.upper()


class RunConfig(_Section):
    """Where a run keeps its files, and what its tasks find in the environment."""

    dir_format: str = Field(
        default="runs/{name}_{executor}_{timestamp}",
        description="run directory; may use {name}, {executor}, {transformer} and {timestamp}",
    )
    env_vars: dict[str, str] | None = Field(
        default=None, description="environment variables set during the run, as JSON"
    )

    @field_validator("dir_format")
    @classmethod
    def _can_be_filled_in(cls, dir_format: str) -> str:
        try:
            dir_format.format(name="", executor="", transformer="", timestamp="")
        except (KeyError, IndexError, ValueError) as exc:
            raise ValueError(f"{dir_format!r} has a field that is not known: {exc}") from exc
        return dir_format


class Config(_Section):
    """Everything that determines a run."""

    app: SerializeAsAny[AppConfig]
    engine: EngineConfig
    logging: LoggingConfig = Field(default_factory=LoggingConfig)
    run: RunConfig = Field(default_factory=RunConfig)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """The configuration that plain values describe.

        Args:
            mapping: Sections as in a file. A plugin is selected by its name, or by
                a mapping with the key ``name``; the string ``none`` means `None`.

        Raises:
            UsageError: A name, option or value is wrong; says which, and what would be right.
            PluginLoadError: A selected plugin needs something that is not installed.
        """
        plain: Any = _without_none_strings(mapping)
        plain = merged(DEFAULTS, plain)
        if not plain.get("app"):
            raise UsageError(["No app is selected. Name one with --app; `taps list` shows them."])
        problems: list[str] = []
        for path in SELECTIONS:
            _build_plugin(plain, path, problems)
        if problems:
            raise UsageError(list(dict.fromkeys(problems)))
        try:
            config = cls.model_validate(plain)
        except ValidationError as exc:
            raise UsageError(problems_of(exc, cls, ())) from exc
        if config.engine.filter is not None and config.engine.transformer is None:
            problem = "--filter chooses what a transformer transforms, and none is selected."
            raise UsageError([f"{problem} Add --transformer, or leave out --filter."])
        return config

    @classmethod
    def from_toml(cls, *paths: str | os.PathLike[str]) -> Self:
        """The configuration in some files, of which later ones override earlier ones.

        Raises:
            UsageError: As `from_mapping`; or a file cannot be read.
        """
        return cls.from_mapping(merged(*(read_toml(path) for path in paths)))

    def write_toml(self, path: str | os.PathLike[str]) -> None:
        """Write a file from which `from_toml` makes an equal configuration."""
        plain = _for_toml(self)
        Path(path).write_text(tomli_w.dumps(plain), encoding="utf-8")


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The contents of a configuration file.

    Raises:
        UsageError: It cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise UsageError([f"Cannot read the configuration file {str(path)!r}: {exc}."]) from exc


def merged(*mappings: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings on top of each other. Selecting another plugin drops the options of the first."""
    result: dict[str, Any] = {}
    for mapping in mappings:
        _merge_into(result, mapping, ())
    return result


def _merge_into(below: dict[str, Any], above: Mapping[str, Any], path: tuple[str, ...]) -> None:
    for key, value in above.items():
        here = (*path, key)
        if here in SELECTIONS and isinstance(value, str) and value != "none":
            value = {"name": value}
        old = below.get(key)
        if not isinstance(value, Mapping):
            below[key] = value
            continue
        other_plugin = isinstance(old, dict) and value.get("name", old.get("name")) != old.get(
            "name"
        )
        if not isinstance(old, dict) or (here in SELECTIONS and other_plugin):
            old = below[key] = {}
        _merge_into(old, value, here)


def selected(mapping: Mapping[str, Any], path: tuple[str, ...]) -> type[PluginConfig] | None:
    """The class of the plugin that is selected at ``path``, if one is.

    Raises:
        UnknownPluginError: There is no such plugin.
        PluginLoadError: It needs something that is not installed.
    """
    section: Any = mapping
    for key in path:
        section = section.get(key) if isinstance(section, Mapping) else None
    name = section.get("name") if isinstance(section, Mapping) else section
    if name is None or name == "none":
        return None
    kind, base = SELECTIONS[path]
    return load_plugin(kind, str(name), base)


def _build_plugin(plain: dict[str, Any], path: tuple[str, ...], problems: list[str]) -> None:
    *above, key = path
    section = plain
    for name in above:
        section = section.get(name, {})
        if not isinstance(section, dict):
            problems.append(f"The section {name!r} is not a table.")
            return
    options = section.get(key)
    if options is None:
        return
    config = selected(plain, path)
    if config is None:
        problems.append(f"{'.'.join(path)} has options, but no name says what it is.")
        return
    try:
        section[key] = config.model_validate(options)
    except ValidationError as exc:
        problems.extend(problems_of(exc, config, path))


def _without_none_strings(value: Any, path: tuple[str, ...] = ()) -> Any:
    # Not inside the value of an option: an environment variable may well be "none".
    if isinstance(value, Mapping) and (len(path) < 2 or path in SELECTIONS):
        return {key: _without_none_strings(item, (*path, key)) for key, item in value.items()}
    return None if value == "none" else value


def _for_toml(model: BaseModel) -> dict[str, Any]:
    # TOML has no null. It is left out where it is the default, which may be something else.
    plain: dict[str, Any] = {}
    dumped = model.model_dump(mode="json")
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            plain[name] = _for_toml(value)
        elif value is not None:
            plain[name] = dumped[name]
        elif field.get_default(call_default_factory=True) is not None:
            plain[name] = "none"
    return plain
