"""Connectors found by kind, URL or config, and those of others made to fit."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from proxystore.abc import Connector
from proxystore.connectors._adapted import AdaptedConnector, AdaptedDeferrableConnector
from proxystore.connectors._catalog import BUILT_IN, SEPARATE, short_name
from proxystore.errors import ConfigError, ConnectorNotInstalledError, nearest_name

__all__ = [
    "adapt",
    "check_parameters",
    "connector_from_config",
    "connector_from_url",
    "connector_type",
    "kind_of",
    "new_connector",
    "unadapted",
]

_BUILT_IN = {entry.kind: f"{entry.module}:{entry.class_name}" for entry in BUILT_IN}
_NEEDED = ("put", "get", "exists", "evict", "put_batch", "get_batch", "config", "close")
_SEPARATE = {entry.kind: entry for entry in SEPARATE}


# Any in this module: connectors are classes of anybody, and options theirs.
def connector_type(kind: str) -> type[Any]:
    """The connector class that ``kind`` names.

    The first look for one that is not built in scans the installed
    distributions, which takes some 40 ms.

    Args:
        kind: The name of an entry point of group ``proxystore.connectors``
            (``"redis"``, and ``"RedisConnector"`` in any case), or an import
            path, ``"module:Class"`` or ``"module.Class"``.

    Raises:
        ConfigError: There is no such connector.
        ConnectorNotInstalledError: It is one of this family, but not installed.
    """
    if ":" in kind:
        return _imported(kind, kind)
    short = short_name(kind)
    if short in _BUILT_IN:
        return _imported(kind, _BUILT_IN[short])
    installed = _entry_points()
    if short in installed:
        return _imported(kind, installed[short])
    if short in _SEPARATE:
        raise ConnectorNotInstalledError(
            f"Connector {kind!r}", _SEPARATE[short].distribution, tuple(_BUILT_IN | installed)
        )
    if "." in kind:
        return _imported(kind, ":".join(kind.rsplit(".", 1)))
    raise _unknown(f"connector {kind!r}", short, _BUILT_IN | installed)


def kind_of(connector: object) -> str:
    """The name under which `connector_type` finds the class of ``connector``.

    The name of its entry point if it has one, else ``"module:Class"``.
    """
    cls = type(unadapted(connector))
    path = f"{cls.__module__}:{cls.__qualname__}"
    for kind, known in _BUILT_IN.items():
        if path == known:
            return kind
    installed = _entry_points()
    # Its own name first: a connector may have an entry point for each scheme of its URLs.
    own = short_name(cls.__qualname__)
    for kind in sorted(installed, key=lambda kind: kind != own):
        known = installed[kind]
        # An entry point may name a package that publishes a class of another module.
        module, _, name = known.partition(":")
        if name == cls.__qualname__ and cls.__module__.split(".")[0] == module.split(".")[0]:
            return kind
    return path


def connector_from_url(url: str) -> Any:
    """A connector to the medium at ``url``, whose scheme is the connector's kind.

    Raises:
        ConfigError: The URL is no string, or has no scheme, or one that no connector knows.
    """
    if not isinstance(url, str):
        raise ConfigError(
            f"URL {url!r}",
            "it is no string. A store whose url is None is opened by its config(), "
            "with Store.from_config()",
        )
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise ConfigError(f"URL {url!r}", "it does not begin with a scheme, as file:/// does")
    cls = connector_type(scheme)
    if not hasattr(cls, "from_url"):
        raise ConfigError(
            f"URL {url!r}", f"{cls.__name__} cannot be made from a URL, only from a config"
        )
    return cls.from_url(url)


def connector_from_config(kind: str, options: Mapping[str, Any]) -> Any:
    """A connector of ``kind`` from what its `config` gave.

    Raises:
        ConfigError: There is no such connector, or it has no such option.
        ConnectorNotInstalledError: It is one of this family, but not installed.
    """
    return _made(kind, options, lambda cls: cls.from_config(dict(options)))


def new_connector(kind: str, options: Mapping[str, Any]) -> Any:
    """A connector of ``kind``, by its constructor: it may make its medium and own it.

    Raises:
        ConfigError: There is no such connector, or ``options`` do not fit it.
        ConnectorNotInstalledError: It is one of this family, but not installed.
    """
    return _made(kind, options, lambda cls: cls(**options))


def _made(kind: str, options: Mapping[str, Any], make: Callable[[type[Any]], Any]) -> Any:
    cls = connector_type(kind)
    try:
        return make(cls)
    except TypeError as exc:
        known = check_parameters(cls, options, f"of connector {kind!r}", exc)
        raise ConfigError(f"the options of connector {kind!r}", str(exc), None, known) from exc


def check_parameters(
    cls: type[Any], options: Iterable[str], owner: str, cause: TypeError
) -> tuple[str, ...]:
    """The names that the constructor of ``cls`` takes, none if it takes any.

    Args:
        cls: Whose constructor it is.
        options: Names that it was given.
        owner: Whose options they are, for the message.
        cause: What the constructor said.

    Raises:
        ConfigError: One of ``options`` is not among them. It names the nearest.
    """
    known = _parameters(cls)
    for option in options if known else ():
        if option not in known:
            raise _unknown(f"option {option!r} {owner}", option, known) from cause
    return known


def adapt(connector: Any, *, owns: bool = True) -> Connector[Any]:
    """``connector`` as the contract has it, itself if it already is.

    A connector written for the older system knows only bytes and states no
    capabilities. Around one of these the result joins payloads, and states the
    least: a network medium that survives nothing.

    Args:
        connector: Has the methods of `Connector`, at least with ``bytes``.
        owns: Whether closing it may clear its medium; not if it was rebuilt
            for a proxy.

    Raises:
        TypeError: It is a class, or lacks methods that every connector has.
    """
    if isinstance(connector, type):
        raise TypeError(f"{connector!r} is a class. Call it to make a connector, and pass that.")
    if hasattr(connector, "capabilities"):
        # Any connector that states its capabilities follows the contract.
        return connector  # type: ignore[no-any-return]
    lacking = [name for name in _NEEDED if not hasattr(connector, name)]
    if lacking:
        raise TypeError(
            f"{connector!r} is no connector: it has no {', '.join(lacking)}. Pass one of "
            f"proxystore.connectors, or an object with the methods of proxystore.abc.Connector."
        )
    if hasattr(connector, "new_key") and hasattr(connector, "set"):
        return AdaptedDeferrableConnector(connector, owns=owns)
    return AdaptedConnector(connector, owns=owns)


def unadapted(connector: Any) -> Any:
    """What `adapt` was given to make ``connector``."""
    return connector.inner if isinstance(connector, AdaptedConnector) else connector


def _imported(kind: str, path: str) -> type[Any]:
    module_name, _, qualname = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for name in qualname.split("."):
            found = getattr(found, name)
    except (ModuleNotFoundError, AttributeError, ValueError) as exc:
        raise ConfigError(f"connector {kind!r}", f"{path} cannot be imported ({exc})") from exc
    if not isinstance(found, type):
        raise ConfigError(f"connector {kind!r}", f"{path} is not a class")
    return found


_scanned: dict[str, str] | None = None


def _entry_points() -> dict[str, str]:
    global _scanned  # noqa: PLW0603 - a scan takes 40 ms; two at once find the same
    if _scanned is None:
        from importlib.metadata import entry_points

        points = entry_points(group="proxystore.connectors")
        _scanned = {point.name: point.value for point in points}
    return _scanned


def _parameters(cls: type[Any]) -> tuple[str, ...]:
    import inspect

    parameters = inspect.signature(cls).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return ()
    return tuple(parameter.name for parameter in parameters)


def _unknown(what: str, name: str, known: Iterable[str]) -> ConfigError:
    known = tuple(known)
    return ConfigError(what, "there is none of that name", nearest_name(name, known), known)
