"""Which server it is, as options."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

from proxystore.connectors.options import check_options
from proxystore.errors import ConfigError
from proxystore.secrets import check_reference

__all__ = ["TLS_OPTIONS", "Server", "host_and_port"]

TLS_OPTIONS = ("tls_ca", "tls_cert", "tls_key", "tls_verify")

_LONGEST = 1_000_000
_NEVER_NONE = frozenset({"db", "timeout", "tls", "tls_verify"})
_PORTS = {"sentinels": 26379, "cluster": 6379}
_NODE = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^][/@?#:,\s\0]+))(?::(\d{1,5}))?").fullmatch


class Server(NamedTuple):
    """How to reach a server. Made by `checked`."""

    hostname: str = "127.0.0.1"
    port: int = 6379
    socket_path: str | None = None
    sentinels: tuple[str, ...] = ()
    """``HOST:PORT`` of each, sorted; they know where the server is that has the service."""
    service: str | None = None
    cluster: tuple[str, ...] = ()
    """``HOST:PORT`` of some of its nodes, sorted; they know where every slot is."""
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
        if self.sentinels:
            return f"redis service {self.service!r} of sentinels {', '.join(self.sentinels)}"
        if self.cluster:
            return f"redis cluster of {', '.join(self.cluster)}"
        return f"redis at {_joined(self.hostname, self.port)}"

    # Any: what callers and configs give, which may be anything.
    @classmethod
    def checked(cls, options: Mapping[str, Any]) -> Self:
        """The server that ``options`` describe; `None` is as if an option was not given.

        Raises:
            ConfigError: An option has an unknown name, a value that it cannot have, or one
                that contradicts another. It repeats no password.
        """
        check_options("redis", options, cls._fields)
        given = {
            name: _checked(name, value)
            for name, value in options.items()
            if value is not None or name in _NEVER_NONE
        }
        server = cls(**given)
        server._check_way(given.keys() & {"hostname", "port", "socket_path", *_PORTS})
        if not server.tls and any(getattr(server, name) != server._field_defaults[name]
                                  for name in TLS_OPTIONS):
            raise ConfigError("options tls_... of connector 'redis'", "they need tls=True as well")
        return server

    def _check_way(self, ways: set[str]) -> None:
        """Return if there is one way to the server."""
        if len(ways) > 1 and ways != {"hostname", "port"}:
            named = " and ".join(repr(name) for name in sorted(ways))
            found = "they name different ways to a server. Give one of them"
            raise ConfigError(f"options {named} of connector 'redis'", found)
        if bool(self.sentinels) != (self.service is not None):
            asked = "options 'sentinels' and 'service' of connector 'redis'"
            raise ConfigError(asked, "they come together")
        if self.tls and self.socket_path is not None:
            raise ConfigError("option 'tls' of connector 'redis'", "a unix socket has no TLS")
        if self.cluster and self.db:
            raise ConfigError("option 'db' of connector 'redis'", "a cluster has database 0 only")

    def at(self, hostname: str, port: int) -> Self:
        """The same with a place of its own, which sentinels or nodes have told."""
        there = self._replace(hostname=hostname, port=port)
        return there._replace(sentinels=(), service=None, cluster=())

    # Any: values of different types.
    def options(self) -> dict[str, Any]:
        """What differs from the defaults, as plain values."""
        pairs = self._asdict().items()
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in pairs
            if value != self._field_defaults[name]
        }


def host_and_port(node: str) -> tuple[str, int]:
    """The two parts of one of `Server.sentinels` or `Server.cluster`."""
    host, _, port = node.rpartition(":")
    return host.strip("[]"), int(port)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# --- Each option ----------------------------------------------------------------


def _checked(name: str, value: Any) -> Any:
    """``value`` in the form in which it identifies a server."""
    if name == "password":
        check_reference(value, name)
        return value
    if name in _PORTS:
        return _nodes(name, value)
    expected, fits = _CHECKS[name]
    if not fits(value):
        # Without the value: a URL in place of a host name may have a password in it.
        raise ConfigError(f"option {name!r} of connector 'redis'", f"it takes {expected}")
    if name == "hostname":
        return value.lower()
    # As URLs give it, or one server would have two identities.
    return float(value) if name == "timeout" else value


def _nodes(name: str, value: Any) -> tuple[str, ...]:
    given = value if isinstance(value, (list, tuple)) and value else [None]
    nodes = {_node(text, _PORTS[name]) for text in given}
    if None in nodes:
        asked = f"option {name!r} of connector 'redis'"
        raise ConfigError(asked, "it takes a list of 'HOST:PORT'")
    return tuple(sorted(filter(None, nodes)))


def _node(text: Any, port: int) -> str | None:
    found = _NODE(text.lower()) if isinstance(text, str) else None
    if found is None:
        return None
    number = int(found[3] or port)
    return _joined(found[1] or found[2], number) if _is_whole(number, 1, 65535) else None


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and os.path.isabs(value) and "\0" not in value


def _is_whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _is_timeout(value: Any) -> bool:
    return type(value) in {int, float} and 0.001 <= value <= _LONGEST


def _is_host(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and not set(value) & set("/@?#[] \0")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


_PATH = ("an absolute path", _is_path)
_FLAG = ("True or False", lambda value: isinstance(value, bool))
_CHECKS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "hostname": ("a host name or an address; a URL goes to from_url()", _is_host),
    "port": ("a whole number from 1 to 65535", lambda value: _is_whole(value, 1, 65535)),
    "socket_path": _PATH,
    "service": ("a name", _is_text),
    "db": ("a whole number, at least 0", lambda value: _is_whole(value, 0, 1 << 31)),
    "username": ("a name", _is_text),
    "tls": _FLAG,
    "tls_ca": _PATH,
    "tls_cert": _PATH,
    "tls_key": _PATH,
    "tls_verify": _FLAG,
    "timeout": (f"a number of seconds from 0.001 to {_LONGEST}", _is_timeout),
}
