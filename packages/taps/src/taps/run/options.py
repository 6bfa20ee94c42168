"""The command line of ``taps run``: options for exactly the plugins that are selected."""

from __future__ import annotations

import argparse
import json
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from proxystore.errors import did_you_mean
from taps.errors import UsageError
from taps.plugins import Plugin, plugin_names
from taps.run._problems import option_name
from taps.run.config import (
    DEFAULTS,
    SELECTIONS,
    Config,
    EngineConfig,
    LoggingConfig,
    RunConfig,
    merged,
    read_toml,
    selected,
)

__all__ = ["parse_run"]

Path = tuple[str, ...]

_REQUIRED = "must be given"
_SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("engine", EngineConfig),
    ("logging", LoggingConfig),
    ("run", RunConfig),
)


class Parser(argparse.ArgumentParser):
    """Raises `UsageError` with the nearest option, rather than exit."""

    def error(self, message: str) -> NoReturn:
        """Turn argparse's complaint into a sentence."""
        raise UsageError([f"{message[:1].upper()}{message[1:].rstrip('.')}."])


def parse_run(arguments: Sequence[str]) -> Config:
    """The configuration that files and options of a command line describe.

    Options override files. ``--help`` prints the options that the selection has, and exits.

    Raises:
        UsageError: Something in either is wrong.
        PluginLoadError: A selected plugin needs something that is not installed.
    """
    arguments = [_normal(argument) for argument in arguments]
    files, choices = _selection(arguments)
    parser = _parser(merged(DEFAULTS, *files, choices))
    known, unknown = parser.parse_known_args(arguments)
    _refuse(unknown, parser)
    given = dict(_given(vars(known)))
    return Config.from_mapping(merged(*files, choices, *given.values()))


def _normal(argument: str) -> str:
    """Options with dashes for underscores, and ``--engine.executor`` as ``--executor``."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    name = name.replace("_", "-")
    for selection in ("executor", "transformer", "filter"):
        long = f"--engine.{selection}"
        if name == long or name.startswith(f"{long}."):
            name = f"--{selection}{name[len(long) :]}"
    return name + equals + value


def _selection(arguments: Sequence[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    parser = Parser(add_help=False, allow_abbrev=False)
    _add_selections(parser)
    known, _ = parser.parse_known_args(arguments)
    choices: dict[str, Any] = {}
    for path in SELECTIONS:
        name = getattr(known, path[-1])
        if name is not None:
            choices = merged(choices, _nested(path, name))
    return [read_toml(path) for path in known.config], choices


def _add_selections(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "-c", "--config", nargs="+", default=[], action="extend", metavar="FILE",
        help="TOML files; later ones override earlier ones, and options override files",
    )  # fmt: skip
    for path, (kind, _) in SELECTIONS.items():
        names = ", ".join(plugin_names(kind))
        none = "" if kind in {Plugin.APP, Plugin.EXECUTOR} else ", or none"
        default = " (process-pool)" if kind is Plugin.EXECUTOR else ""
        parser.add_argument(
            option_name(path), metavar="NAME", dest=path[-1], help=f"{names}{none}{default}"
        )


def _parser(chosen: dict[str, Any]) -> Parser:
    parser = Parser(
        prog="taps run",
        description="Run an application once: time it, verify its result, keep the records.",
        epilog="Options of other plugins appear once they are selected. "
        "Example: taps run --app mapreduce --executor thread-pool --app.map-tasks 8",
        allow_abbrev=False,
    )
    _add_selections(parser)
    for path in SELECTIONS:
        config = selected(chosen, path)
        if config is not None:
            title = f"{path[-1]} {config.model_fields['name'].default}"
            _add_fields(parser.add_argument_group(title, _summary(config)), config, path)
    for name, section in _SECTIONS:
        _add_fields(parser.add_argument_group(name, _summary(section)), section, (name,))
    return parser


def _summary(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").partition("\n")[0]


def _add_fields(
    group: argparse._ArgumentGroup, model: type[BaseModel], path: Path, required: str = _REQUIRED
) -> None:
    for name, field in model.model_fields.items():
        here = (*path, name)
        if here in SELECTIONS or (path in SELECTIONS and name == "name"):
            continue
        inner = _model_in(field)
        if inner is not None:
            optional = f"needed if there are options of {name}"
            _add_fields(group, inner, here, _REQUIRED if field.is_required() else optional)
            continue
        group.add_argument(
            option_name(here), dest=".".join(here), metavar=_metavar(field),
            help=_help(field, required), type=_reader(field), default=argparse.SUPPRESS,
        )  # fmt: skip


def _alternatives(field: FieldInfo) -> tuple[Any, ...]:
    # Any: annotations are types, unions and other typing constructs.
    if typing.get_origin(field.annotation) in {typing.Union, types.UnionType}:
        return typing.get_args(field.annotation)
    return (field.annotation,)


def _model_in(field: FieldInfo) -> type[BaseModel] | None:
    for kind in _alternatives(field):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _metavar(field: FieldInfo) -> str:
    names: list[str] = []
    for kind in _alternatives(field):
        if typing.get_origin(kind) is typing.Literal:
            names.extend(map(str, typing.get_args(kind)))
        elif kind is type(None):
            names.append("none")
        else:
            names.append(getattr(typing.get_origin(kind) or kind, "__name__", "value").lower())
    return "|".join(names)


def _help(field: FieldInfo, required: str) -> str:
    text = (field.description or "").rstrip(".")
    if field.is_required():
        return f"{text} ({required})".replace("%", "%%")
    default = field.get_default(call_default_factory=True)
    shown = json.dumps(default) if isinstance(default, bool) else default
    return f"{text} ({'none' if default is None else shown})".replace("%", "%%")


# Any: what a value is, is for the plugin's model to say.
def _reader(field: FieldInfo) -> Any:
    origins = {typing.get_origin(kind) or kind for kind in _alternatives(field)}
    is_list, is_text = bool(origins & {list, tuple, set, frozenset}), origins & {str}

    def read(text: str) -> Any:
        if not is_text and text[:1] in {"{", "["}:
            try:
                return json.loads(text)
            except json.JSONDecodeError as exc:
                raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {exc}") from exc
        return text.split(",") if is_list and text != "none" else text

    return read


def _refuse(unknown: Sequence[str], parser: Parser) -> None:
    # argparse has no public list of its options.
    known = [option for action in parser._actions for option in action.option_strings]
    problems = [
        f"There is no option {option}.{did_you_mean(option, known)}"
        for option in (argument.partition("=")[0] for argument in unknown)
        if option.startswith("-")
    ]
    if unknown and not problems:
        problems = [f"Nothing is known to do with {argument!r}." for argument in unknown]
    if problems:
        raise UsageError([*problems, "`taps run --help` lists the options of what is selected."])


def _given(values: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, value in values.items():
        if "." in name:
            yield name, _nested(tuple(name.split(".")), value)


def _nested(path: Path, value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    nested: dict[str, Any] = value
    return nested
