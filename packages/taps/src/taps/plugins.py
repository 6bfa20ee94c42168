"""Plugins: entry points give names to configuration classes, imported when chosen.

A distribution offers, for instance, an executor with::

    [project.entry-points."taps.executors"]
    my-cluster = "my_package.executor:MyClusterConfig"

where the class is an `ExecutorConfig`. The suite's own plugins are declared in
the same way.
"""

from __future__ import annotations

import enum
from abc import ABC
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, field_validator

from taps.errors import PluginLoadError, UnknownPluginError

__all__ = [
    "Plugin",
    "PluginConfig",
    "PluginT",
    "extra_advice",
    "load_plugin",
    "plugin_names",
]

_REPORT_IT = "Report it to the distribution that provides it."


class PluginConfig(BaseModel, ABC):
    """Options of one plugin, checked when they are given.

    The first line of a subclass's docstring is its description in ``taps list``,
    and the ``description`` of each field its help on the command line.
    """

    model_config = ConfigDict(extra="forbid", validate_default=True, frozen=True)

    name: str
    """The name of the plugin's entry point; a subclass sets it as the default."""

    @field_validator("*", mode="after")
    @classmethod
    def _is_absolute(cls, value: Any) -> Any:
        # A configuration that was written to a run directory is read from anywhere.
        return value.expanduser().absolute() if isinstance(value, Path) else value


PluginT = TypeVar("PluginT", bound=PluginConfig)


class Plugin(enum.Enum):
    """The kinds of plugins; the value names one to a user."""

    APP = "app"
    EXECUTOR = "executor"
    TRANSFORMER = "transformer"
    FILTER = "filter"

    @property
    def group(self) -> str:
        """The entry-point group."""
        return f"taps.{self.value}s"


def plugin_names(kind: Plugin) -> tuple[str, ...]:
    """Names of the installed plugins of one kind, sorted. Imports none of them."""
    return tuple(sorted(_entry_points(kind)))


def load_plugin(kind: Plugin, name: str, base: type[PluginT]) -> type[PluginT]:
    """Import the configuration class of one plugin.

    Args:
        kind: Where to look.
        name: The plugin's name, with dashes.
        base: What the class must derive from.

    Raises:
        UnknownPluginError: Nothing of this name is installed.
        PluginLoadError: Importing it failed, or it is not a ``base``.
    """
    found = _entry_points(kind)
    if name not in found:
        raise UnknownPluginError(kind.value, name, sorted(found))
    entry_point = found[name]
    try:
        config = entry_point.load()
    except ImportError as exc:
        raise PluginLoadError(kind.value, name, str(exc), _advice(entry_point)) from exc
    except Exception as exc:  # Importing a stranger's module may raise anything.
        reason = f"importing it raised {type(exc).__name__}: {exc}"
        raise PluginLoadError(kind.value, name, reason, _REPORT_IT) from exc
    if not (isinstance(config, type) and issubclass(config, base)):
        raise PluginLoadError(
            kind.value,
            name,
            f"{entry_point.value} is not a subclass of {base.__name__}",
            _REPORT_IT,
        )
    return config


def _entry_points(kind: Plugin) -> dict[str, EntryPoint]:
    return {entry_point.name: entry_point for entry_point in entry_points(group=kind.group)}


def _advice(entry_point: EntryPoint) -> str:
    provider = entry_point.dist.name if entry_point.dist else "the distribution it is in"
    if not entry_point.extras:
        return f"Install what it needs: pip install '{provider}'."
    return extra_advice(provider, entry_point.extras[0])


def extra_advice(provider: str, extra: str) -> str:
    """How to install what a plugin needs.

    Args:
        provider: The distribution that has the plugin.
        extra: The one of its extras that brings what the plugin needs.
    """
    # On the public index the name taps is another project's.
    source = (
        "from a clone: pip install './packages/taps"
        if provider == "taps"
        else (f"pip install '{provider}")
    )
    return f"Install the extra {extra!r} of {provider}, {source}[{extra}]'."
