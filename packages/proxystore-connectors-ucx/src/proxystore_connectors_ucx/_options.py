"""What says which namespace, where it lives and how to get there: as options and as a URL."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Self
from urllib.parse import quote, unquote, urlsplit

from proxystore.connectors.options import check_options, options_from_query, query_from_options
from proxystore.errors import ConfigError
from proxystore.host.node import Node, this_node
from proxystore.secrets import check_reference
from proxystore_connectors_ucx._key import is_address
from proxystore_connectors_ucx._network import interface_of

__all__ = ["SHARED_MEMORY", "TIMEOUT_S", "Network", "Options"]

TIMEOUT_S = 10.0
SHARED_MEMORY = "sm"


@dataclass(frozen=True)
class Network:
    """How UCX goes between nodes."""

    transports: str | None = None
    """As UCX takes them in ``UCX_TLS``; `None` for all but shared memory."""
    devices: str | None = None
    """As UCX takes them in ``UCX_NET_DEVICES``; `None` for all of them."""

    def settings(self) -> dict[str, str]:
        """This, as a UCX context takes it."""
        settings = {"TLS": self.transports or f"^{SHARED_MEMORY}"}
        if self.devices is not None:
            settings["NET_DEVICES"] = self.devices
        return settings


@dataclass(frozen=True)
class Options:
    """Where the objects of a namespace are, and how to reach them. Plain values only."""

    namespace: str
    node: str
    """The `proxystore.host.node.Node` of the owner."""
    address: str | None = None
    """``host:port`` at which other nodes reach the owner's; `None` if they cannot."""
    interface: str | None = None
    """Network interface on which the store processes of all nodes listen."""
    secret: str | None = None
    """Reference of the secret that all nodes share."""
    transports: str | None = None
    """What UCX may use between nodes, as in ``UCX_TLS``; `None` for all but shared memory."""
    devices: str | None = None
    """By which devices, as in ``UCX_NET_DEVICES``; `None` for the interface that listens."""
    max_nbytes: int | None = None
    """Bytes that the objects of one node may have; `None` for a quarter of its memory."""
    timeout: float = TIMEOUT_S

    _IN_URL: ClassVar[Mapping[str, type]] = {
        "devices": str,
        "interface": str,
        "max_nbytes": int,
        "node": str,
        "secret": str,
        "timeout": float,
        "transports": str,
    }

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: One is impossible.
        """
        if self.address is not None and not is_address(self.address):
            raise _wrong("address", self.address, "it takes host:port")
        if self.secret is not None:
            check_reference(self.secret, "secret")
        if not self.timeout > 0:
            raise _wrong("timeout", self.timeout, "it takes a number of seconds above 0")
        if self.max_nbytes is not None and self.max_nbytes <= 0:
            raise _wrong("max_nbytes", self.max_nbytes, "it takes a number of bytes above 0")
        try:
            Node.parse(self.node)
        except ValueError as exc:
            raise _wrong("node", self.node, str(exc)) from exc

    def network(self, sock: socket.socket) -> Network:
        """How UCX goes between nodes: by the interface of ``sock``, unless told otherwise.

        Args:
            sock: A TCP connection to the other node.
        """
        devices = self.devices or interface_of(sock.getsockname()[0])
        return Network(self.transports, devices)

    @property
    def is_here(self) -> bool:
        """Whether the owner's node is this one."""
        return Node.parse(self.node).is_here()

    def at(self, address: str) -> Self:
        """The same, reached by other nodes at ``address``."""
        return replace(self, address=address)

    # Any: values of different types.
    def to_config(self) -> dict[str, Any]:
        """What differs from the defaults."""
        defaults = {field.name: field.default for field in fields(self)}
        return {name: v for name, v in asdict(self).items() if v != defaults[name]}

    def to_url(self) -> str:
        """The same as a URL; each set of options has exactly one."""
        options = self.to_config()
        path = quote(options.pop("namespace"))
        return f"ucx://{options.pop('address', '')}/{path}{query_from_options(options)}"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The options that gave ``config``.

        Raises:
            ConfigError: A name or value is wrong; a near one is named.
        """
        known = tuple(field.name for field in fields(cls))
        check_options("ucx", config, known)
        if not isinstance(config.get("namespace"), str):
            raise ConfigError("a config of connector 'ucx'", "it needs the text 'namespace'")
        try:
            return cls(**{"node": str(this_node()), **config})
        except TypeError as exc:
            raise ConfigError("a config of connector 'ucx'", str(exc)) from exc

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The options that gave ``url``; without ``node``, those of a namespace of this node.

        Raises:
            ConfigError: It has another form, or an option of it is wrong.
        """
        parts = urlsplit(url)
        if "@" in parts.netloc:
            # Whatever it is, it could be a secret: it is not repeated.
            found = "it has user information; give secret=env:NAME or file:/path instead"
            raise ConfigError("the URL of connector 'ucx'", found)
        if parts.scheme != "ucx" or parts.fragment or not parts.path.startswith("/"):
            raise ConfigError(f"URL {url!r}", "expected ucx://[host:port]/namespace")
        config = options_from_query("ucx", parts.query, cls._IN_URL)
        config["namespace"] = unquote(parts.path[1:])
        if parts.netloc:
            config["address"] = parts.netloc
        return cls.from_config(config)


def _wrong(option: str, value: object, found: str) -> ConfigError:
    return ConfigError(f"option {option}={value!r} of connector 'ucx'", found)
