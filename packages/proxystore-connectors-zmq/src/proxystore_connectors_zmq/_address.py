"""Where the objects of a connector are: as options, and as a URL."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
        parts = urlsplit(url)
        if "@" in parts.netloc:
            # It is not repeated, for it may hold a password.
            raise ConfigError("a zmq URL", "it names a user, and there is none to log in as")
        if parts.scheme != "zmq" or parts.fragment or parts.path.count("/") != 1:
            raise ConfigError(f"URL {url!r}", "expected the form zmq://[host:port]/namespace")
        options = options_from_query("zmq", parts.query, _READ)
        return cls(parts.path[1:], parts.netloc or None, **options).checked()

    def checked(self) -> Self:
        """This address.

        Raises:
            ConfigError: One of its values is wrong.
        """
        if self.secret is not None:
            check_reference(self.secret, "secret")
        if self.home is not None:
            _check_home(self.home)
        if self.node is not None:
            try:
                Node.parse(self.node)
            except ValueError as error:
                raise ConfigError(f"option node={self.node!r}", str(error)) from error
        _check_positive("timeout", self.timeout)
        if self.max_nbytes is not None:
            _check_positive("max_nbytes", self.max_nbytes)
        return self


# What `from_url` makes of text, for the options that a URL has after its question mark.
_READ: dict[str, Any] = {"max_nbytes": int, "node": str, "secret": str, "timeout": float}
_DEFAULTS = Address._field_defaults


def _check_home(home: str) -> None:
    try:
        _, port = split_address(home)
    except ValueError as error:
        raise ConfigError(f"option home={home!r}", str(error)) from error
    if not port:
        raise ConfigError(f"option home={home!r}", "nobody listens on port 0")


def _check_positive(name: str, value: float) -> None:
    try:
        valid = math.isfinite(value) and value > 0
    except TypeError:
        valid = False
    if not valid:
        raise ConfigError(f"option {name}={value!r} of connector 'zmq'", "it is greater than 0")
