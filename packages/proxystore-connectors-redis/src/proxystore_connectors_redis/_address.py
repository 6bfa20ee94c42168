"""Where a server is and how to reach it: as options, and as a URL."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self
from urllib.parse import SplitResult, quote, unquote, urlsplit

from proxystore.connectors.keys import is_id
from proxystore.connectors.options import (
    check_options,
    options_from_query,
    query_from_options,
)
from proxystore.errors import ConfigError
from proxystore.secrets import check_reference

__all__ = [
    "SECRET_OPTIONS",
    "Server",
    "address_from_config",
    "address_from_url",
    "checked_namespace",
    "url_of",
]

SECRET_OPTIONS = frozenset({"password", "tls_key"})

_TCP, _TLS, _UNIX = "redis", "rediss", "redis+unix"
_TLS_OPTIONS = ("tls_ca", "tls_cert", "tls_key", "tls_verify")
_LONGEST = 1_000_000
_FORMS = (
    "expected redis://HOST:PORT/DB/NAMESPACE, rediss:// for TLS, or "
    "redis+unix:///SOCKET?db=DB&namespace=NAMESPACE. A password is an option, by reference: "
    "?password=env:NAME"
)


class Server(NamedTuple):
    """How to reach a server. Made by `checked`."""

    hostname: str = "127.0.0.1"
    port: int = 6379
    socket_path: str | None = None
    db: int = 0
    username: str | None = None
    password: str | None = None
    """A reference."""
    tls: bool = False
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_verify: bool = True
    timeout: float = 10.0

    def __str__(self) -> str:
        """The server, as a user would recognise it."""
        if self.socket_path is not None:
            return f"redis at {self.socket_path}"
        host = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        return f"redis at {host}:{self.port}"

    # Any: what callers and configs give, which may be anything.
    @classmethod
    def checked(cls, options: Mapping[str, Any]) -> Self:
        """The server that ``options`` describe.

        Raises:
            ConfigError: An option has an unknown name, or a value that it cannot have.
                It repeats no password.
        """
        check_options("redis", options, cls._fields)
        for name, value in options.items():
            if value is not None or cls._field_defaults[name] is not None:
                _check(name, value)
        server = cls(**options)
        # As URLs give them, or one server would have two identities.
        server = server._replace(hostname=server.hostname.lower(), timeout=float(server.timeout))
        if server.tls and server.socket_path is not None:
            raise ConfigError("option 'tls' of connector 'redis'", "a unix socket has no TLS")
        if not server.tls and any(getattr(server, name) != server._field_defaults[name]
                                  for name in _TLS_OPTIONS):
            raise ConfigError("options tls_... of connector 'redis'", "they need tls=True as well")
        return server

    # Any: values of different types.
    def options(self) -> dict[str, Any]:
        """What differs from the defaults."""
        pairs = self._asdict().items()
        return {name: value for name, value in pairs if value != self._field_defaults[name]}


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
    for name in ("hostname", "port", "tls"):
        options.pop(name, None)
    if server.socket_path is not None:
        options["namespace"] = namespace
        return f"{_UNIX}://{quote(options.pop('socket_path'))}{query_from_options(options)}"
    scheme = _TLS if server.tls else _TCP
    user = f"{quote(options.pop('username'), safe='')}@" if server.username else ""
    host = f"[{server.hostname}]" if ":" in server.hostname else quote(server.hostname)
    db = options.pop("db", 0)
    query = query_from_options(options)
    return f"{scheme}://{user}{host}:{server.port}/{db}/{namespace}{query}"


def address_from_url(url: str) -> tuple[Server, str | None]:
    """The server, and the namespace if there is one, that ``url`` names.

    Raises:
        ConfigError: It is of no form that is known, has a password in it, or an
            option of it is wrong. It repeats nothing of ``url``.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in {_TCP, _TLS, _UNIX} and not parts.fragment
        has_password, port = parts.password is not None, parts.port
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
        options |= _of_tcp(parts, port)
    namespace = options.pop("namespace", None)
    return Server.checked(options), None if namespace is None else checked_namespace(namespace)


def _of_tcp(parts: SplitResult, port: int | None) -> dict[str, Any]:
    """What the URL of a server with a host says before its query."""
    options: dict[str, Any] = {"tls": parts.scheme == _TLS}
    if parts.hostname:
        options["hostname"] = unquote(parts.hostname)
    if port is not None:
        options["port"] = port
    if parts.username:
        options["username"] = unquote(parts.username)
    match parts.path.removeprefix("/").split("/"):
        case [""]:
            pass
        case [db] if db.isdecimal():
            options["db"] = int(db)
        case [db, namespace] if db.isdecimal():
            options |= {"db": int(db), "namespace": namespace}
        case _:
            raise _no_url()
    return options


def _readers(scheme: str) -> dict[str, Callable[[str], Any]]:
    readers: dict[str, Callable[[str], Any]] = {"password": str, "timeout": float}
    if scheme == _TLS:
        readers |= dict.fromkeys(_TLS_OPTIONS, str) | {"tls_verify": _flag}
    elif scheme == _UNIX:
        readers |= {"db": int, "namespace": str, "username": str}
    return readers


def _flag(text: str) -> bool:
    if text not in {"0", "1"}:
        raise ValueError("a flag is 1 or 0")
    return text == "1"


def _no_url() -> ConfigError:
    return ConfigError("a URL of connector 'redis'", _FORMS)


def _check(name: str, value: Any) -> None:
    if name == "password":
        check_reference(value, name)
        return
    expected, fits = _CHECKS[name]
    if not fits(value):
        # Without the value: a URL in place of a host name may have a password in it.
        raise ConfigError(f"option {name!r} of connector 'redis'", f"it takes {expected}")


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and os.path.isabs(value) and "\0" not in value


def _is_whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _is_timeout(value: Any) -> bool:
    return type(value) in {int, float} and 0.001 <= value <= _LONGEST


def _is_host(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and not set(value) & set("/@?#[] \0")


_PATH = ("an absolute path", _is_path)
_FLAG = ("True or False", lambda value: isinstance(value, bool))
_CHECKS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "hostname": ("a host name or an address; a URL goes to from_url()", _is_host),
    "port": ("a whole number from 1 to 65535", lambda value: _is_whole(value, 1, 65535)),
    "socket_path": _PATH,
    "db": ("a whole number, at least 0", lambda value: _is_whole(value, 0, 1 << 31)),
    "username": ("a name", lambda value: isinstance(value, str) and bool(value)),
    "tls": _FLAG,
    "tls_ca": _PATH,
    "tls_cert": _PATH,
    "tls_key": _PATH,
    "tls_verify": _FLAG,
    "timeout": (f"a number of seconds from 0.001 to {_LONGEST}", _is_timeout),
}
