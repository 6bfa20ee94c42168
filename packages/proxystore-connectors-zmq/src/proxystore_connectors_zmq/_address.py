"""Where the objects of a connector are: as options, and as a URL."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from proxystore.connectors.options import check_options, options_from_query, query_from_options
from proxystore.errors import ConfigError
from proxystore.host.node import Node, this_node
from proxystore.secrets import check_reference
from proxystore.serving.addresses import split_address

__all__ = ["DEFAULT_TIMEOUT", "Address"]

DEFAULT_TIMEOUT = 30.0


class Address(NamedTuple):
    """What another process needs to find the same objects."""

    namespace: str
    home: str | None = None
    """``host:port`` of the store process on the owner's node, if other nodes can reach it."""
    node: str | None = None
    """The owner's node, if they cannot."""
    secret: str | None = None
    """Reference to what opens the port; `None` for the user's own."""
    max_nbytes: int | None = None
    timeout: float = DEFAULT_TIMEOUT

    def completed(self) -> Self:
        """This address; without a home it is one of this node, unless it names another."""
        if self.home is not None or self.node is not None:
            return self
        return self._replace(node=str(this_node()))

    def to_config(self) -> dict[str, Any]:
        """What differs from the defaults, as plain values."""
        given = self._asdict().items()
        return {name: value for name, value in given if value != _DEFAULTS.get(name)}

    def to_url(self) -> str:
        """The same as the shortest URL; each address has exactly one."""
        options = self.to_config()
        home, namespace = options.pop("home", ""), options.pop("namespace")
        return f"zmq://{home}/{namespace}{query_from_options(options)}"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The address that gave ``config``.

        Raises:
            ConfigError: A name or value is wrong; a near one is named.
        """
        check_options("zmq", config, cls._fields)
        if not isinstance(config.get("namespace"), str):
            raise ConfigError("a config of connector 'zmq'", "it needs the text 'namespace'")
        return cls(**config).checked()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The address that gave ``url``.

        Raises:
            ConfigError: It is not ``zmq://[host:port]/namespace``, or an option of it is wrong.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            # With neither the URL nor the cause, for both may hold a password.
            raise ConfigError("a zmq URL", "its host cannot be read") from None
        if "@" in parts.netloc:
            # It is not repeated, for it may hold a password.
            raise ConfigError("a zmq URL", "it names a user, and there is none to log in as")
        if parts.scheme != "zmq" or parts.fragment or parts.path.count("/") != 1:
            raise ConfigError(f"URL {url!r}", "expected the form zmq://[host:port]/namespace")
        options = options_from_query("zmq", parts.query, _READ)
        return cls(parts.path[1:], parts.netloc or None, **options).checked()

    def checked(self) -> Self:
        """This address, with a whole number of bytes.

        Raises:
            ConfigError: One of its values is wrong.
        """
        if self.secret is not None:
            check_reference(self.secret, "secret")
        _check_text("home", self.home, _check_home)
        _check_text("node", self.node, Node.parse)
        _check_positive("timeout", self.timeout, "seconds")
        if self.max_nbytes is None:
            return self
        _check_positive("max_nbytes", self.max_nbytes, "bytes")
        if self.max_nbytes != int(self.max_nbytes):
            raise _wrong("max_nbytes", self.max_nbytes, "it is a whole number of bytes")
        return self._replace(max_nbytes=int(self.max_nbytes))


def _number(text: str) -> float:
    """1e9 too, and whole numbers as they are, however large."""
    try:
        return int(text)
    except ValueError:
        return float(text)


# What `from_url` makes of text, for the options that a URL has after its question mark.
_READ: dict[str, Any] = {"max_nbytes": _number, "node": str, "secret": str, "timeout": float}
_DEFAULTS = Address._field_defaults


def _check_text(name: str, value: str | None, check: Callable[[str], object]) -> None:
    if value is None:
        return
    if type(value) is not str:
        raise _wrong(name, value, "it is text, or None")
    try:
        check(value)
    except ValueError as error:
        raise _wrong(name, value, str(error)) from error


def _check_home(home: str) -> None:
    if not split_address(home)[1]:
        raise ValueError("nobody listens on port 0")


def _check_positive(name: str, value: float, unit: str) -> None:
    try:
        valid = math.isfinite(value) and value > 0
    except (TypeError, OverflowError):
        valid = False
    if not valid:
        raise _wrong(name, value, f"it is a number of {unit} greater than 0, and not without end")


def _wrong(name: str, value: object, found: str) -> ConfigError:
    return ConfigError(f"option {name}={value!r} of connector 'zmq'", found)
