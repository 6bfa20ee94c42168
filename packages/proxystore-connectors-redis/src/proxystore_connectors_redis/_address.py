"""Where a namespace is: as a config, and as a URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

from proxystore.connectors.keys import is_id
from proxystore.connectors.options import (
    check_options,
    options_from_query,
    query_from_options,
)
from proxystore.errors import ConfigError
from proxystore_connectors_redis._server import TLS_OPTIONS, Server

__all__ = [
    "SECRET_OPTIONS",
    "address_from_config",
    "address_from_url",
    "checked_namespace",
    "url_of",
]

SECRET_OPTIONS = frozenset({"password", "tls_key"})

_TCP, _TLS, _UNIX = "redis", "rediss", "redis+unix"
# What they lead to that is not the server itself, and the option that has it.
_NODES = {"sentinel": "sentinels", "cluster": "cluster"}
_SCHEMES = {_TCP, _TLS, _UNIX, *(f"{tcp}+{kind}" for tcp in (_TCP, _TLS) for kind in _NODES)}
_FORMS = (
    "expected redis://HOST:PORT/DB/NAMESPACE; redis+sentinel://HOST:PORT,HOST:PORT/DB/NAMESPACE"
    "?service=NAME; redis+cluster://HOST:PORT,HOST:PORT/0/NAMESPACE; rediss for redis in each, "
    "for TLS; or redis+unix:///SOCKET?db=DB&namespace=NAMESPACE. A password is an option, by "
    "reference: ?password=env:NAME"
)


def address_from_config(config: Mapping[str, Any]) -> tuple[Server, str]:
    """The server and namespace that gave ``config``.

    Raises:
        ConfigError: A name or value is wrong; a near one is named.
    """
    check_options("redis", config, (*Server._fields, "namespace", "clear"))
    options = {name: config[name] for name in Server._fields if name in config}
    namespace = config.get("namespace")
    if namespace is None:
        raise ConfigError("a config of connector 'redis'", "it needs the name 'namespace'")
    return Server.checked(options), checked_namespace(namespace)


def checked_namespace(name: Any) -> str:
    """``name`` as it is.

    Raises:
        ConfigError: It cannot be that of a namespace.
    """
    if isinstance(name, str) and is_id(name):
        return name
    asked = "option 'namespace' of connector 'redis'"
    raise ConfigError(asked, "it takes 1 to 64 characters of A-Z, a-z, 0-9, '_' and '-'")


def url_of(server: Server, namespace: str) -> str:
    """The shortest URL of a namespace; each has exactly one."""
    options = server.options()
    for name in ("hostname", "port", "tls", *_NODES.values()):
        options.pop(name, None)
    if server.socket_path is not None:
        options["namespace"] = namespace
        return f"{_UNIX}://{quote(options.pop('socket_path'))}{query_from_options(options)}"
    kind = next((f"+{kind}" for kind, name in _NODES.items() if getattr(server, name)), "")
    scheme = f"{_TLS if server.tls else _TCP}{kind}"
    user = f"{quote(options.pop('username'), safe='')}@" if server.username else ""
    db = options.pop("db", 0)
    query = query_from_options(options)
    return f"{scheme}://{user}{_places(server)}/{db}/{namespace}{query}"


def _places(server: Server) -> str:
    nodes = server.sentinels or server.cluster
    if nodes:
        return quote(",".join(nodes), safe=":,")
    host = f"[{server.hostname}]" if ":" in server.hostname else quote(server.hostname)
    return f"{host}:{server.port}"


def address_from_url(url: str) -> tuple[Server, str | None]:
    """The server, and the namespace if there is one, that ``url`` names.

    Raises:
        ConfigError: It is of no form that is known, has a password in it, or an
            option of it is wrong. It repeats nothing of ``url``.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in _SCHEMES and not parts.fragment
        has_password = parts.password is not None
        places = {} if parts.scheme == _UNIX else _places_of(parts)
    except ValueError:
        raise _no_url() from None
    if has_password:
        raise ConfigError(
            "a URL of connector 'redis'",
            "it has a password in it, and URLs travel. Give a reference: ?password=env:NAME",
        )
    if not known:
        raise _no_url()
    options = options_from_query("redis", parts.query, _readers(parts.scheme))
    if parts.scheme == _UNIX:
        if parts.netloc:
            raise _no_url()
        options["socket_path"] = unquote(parts.path)
    else:
        options |= {"tls": parts.scheme.startswith(_TLS), **places, **_path_of(parts)}
    namespace = options.pop("namespace", None)
    return Server.checked(options), None if namespace is None else checked_namespace(namespace)


def _places_of(parts: SplitResult) -> dict[str, Any]:
    """The user, and the server or the nodes, that a URL names."""
    options: dict[str, Any] = {}
    if parts.username:
        options["username"] = unquote(parts.username)
    nodes = _NODES.get(parts.scheme.partition("+")[2])
    if nodes is not None:
        options[nodes] = unquote(parts.netloc.rpartition("@")[2]).split(",")
        return options
    if parts.hostname:
        options["hostname"] = unquote(parts.hostname)
    if parts.port is not None:
        options["port"] = parts.port
    return options


def _path_of(parts: SplitResult) -> dict[str, Any]:
    """The database and the namespace that a URL names."""
    match parts.path.removeprefix("/").split("/"):
        case [""]:
            return {}
        case [db] if db.isdecimal():
            return {"db": int(db)}
        case [db, namespace] if db.isdecimal():
            return {"db": int(db), "namespace": namespace}
    raise _no_url()


def _readers(scheme: str) -> dict[str, Callable[[str], Any]]:
    readers: dict[str, Callable[[str], Any]] = {"password": str, "timeout": float}
    if scheme == _UNIX:
        return readers | {"db": int, "namespace": str, "username": str}
    if scheme.startswith(_TLS):
        readers |= dict.fromkeys(TLS_OPTIONS, str) | {"tls_verify": _flag}
    if scheme.endswith("+sentinel"):
        readers["service"] = str
    return readers


def _flag(text: str) -> bool:
    if text not in {"0", "1"}:
        raise ValueError("a flag is 1 or 0")
    return text == "1"


def _no_url() -> ConfigError:
    return ConfigError("a URL of connector 'redis'", _FORMS)
