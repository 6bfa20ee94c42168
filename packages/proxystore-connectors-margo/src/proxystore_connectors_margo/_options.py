"""Options of a connector: checked, as a config, and as a URL."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Self
from urllib.parse import quote, unquote, urlsplit

from proxystore.connectors.options import (
    check_options,
    options_from_query,
    query_from_options,
)
from proxystore.errors import ConfigError
from proxystore.host.node import Node
from proxystore_connectors_margo._protocol import Protocol

__all__ = ["Options", "is_address"]

DEFAULT_TIMEOUT = 10.0
_PORTS = range(1, 65536)
# As Mercury writes them: na+sm://1234-0, ofi+tcp;ofi_rxm://10.0.0.1:5555.
_is_address = re.compile(r"[a-z0-9_+;,]{1,32}://[A-Za-z0-9_.:\[\]%-]{1,128}").fullmatch
_is_host = re.compile(r"[A-Za-z0-9_.:\[\]%-]{1,128}").fullmatch

_READERS = {
    "address": str,
    "home": str,
    "interface": str,
    "max_nbytes": int,
    "node": str,
    "port": int,
    "protocol": str,
    "timeout": float,
}


def is_address(text: str) -> bool:
    """Whether ``text`` can be the address of an engine."""
    return _is_address(text) is not None


class Options(NamedTuple):
    """What another process needs to find the same objects."""

    namespace: str
    node: Node
    """Where the owner is."""
    protocol: Protocol = Protocol.SM_SHM
    address: str | None = None
    """Of ``node``, for its store process to listen on."""
    interface: str | None = None
    """Name of a network interface of every node, in place of ``address``."""
    port: int | None = None
    home: str | None = None
    """Address of the store process on ``node``, where other nodes can reach it."""
    timeout: float = DEFAULT_TIMEOUT
    max_nbytes: int | None = None
    """That a store process keeps; `None` is a quarter of its memory."""

    @property
    def host(self) -> str | None:
        """What an engine on this node uses: an address, an interface, or `None` for loopback."""
        return self.interface or (self.address if self.node.is_here() else None)

    @property
    def crosses_nodes(self) -> bool:
        """Whether other nodes can reach the store process of ``node``."""
        return self.protocol.crosses_nodes and (self.address or self.interface) is not None

    def to_config(self) -> dict[str, Any]:
        """The namespace, the node, and what differs from the defaults, as plain values."""
        config = {
            name: value
            for name, value in self._asdict().items()
            if name not in self._field_defaults or value != self._field_defaults[name]
        }
        config["node"] = str(self.node)
        if "protocol" in config:
            config["protocol"] = self.protocol.value
        return config

    def to_url(self) -> str:
        """The same as a URL; equal options have one URL."""
        config = self.to_config()
        return f"margo://{quote(config.pop('namespace'))}{query_from_options(config)}"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The options that gave ``config``.

        Raises:
            ConfigError: A name is unknown, or a value cannot be.
        """
        check_options("margo", config, ("namespace", *_READERS))
        for name in ("namespace", "node"):
            if not isinstance(config.get(name), str):
                raise ConfigError("a config of connector 'margo'", f"it needs the text {name!r}")
        try:
            node = Node.parse(config["node"])
        except ValueError as error:
            raise ConfigError(f"option node={config['node']!r}", str(error)) from error
        protocol = Protocol.named(config.get("protocol", Protocol.SM_SHM))
        return cls(**{**config, "node": node, "protocol": protocol}).checked()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The options that gave ``url``.

        Raises:
            ConfigError: It is not ``margo://NAMESPACE?node=...``, or an option of it is wrong.
        """
        parts = urlsplit(url)
        if parts.scheme != "margo" or not parts.netloc or parts.path or parts.fragment:
            raise ConfigError(f"URL {url!r}", "expected the form margo://NAMESPACE?node=HOST/BOOT")
        options = options_from_query("margo", parts.query, _READERS)
        return cls.from_config({"namespace": unquote(parts.netloc), **options})

    def checked(self) -> Self:
        """These options as they are.

        Raises:
            ConfigError: A value cannot be.
        """
        if not (self.protocol.has_loopback or self.address or self.interface):
            raise ConfigError(
                f"option protocol={self.protocol.value!r} of connector 'margo'",
                "it has no loopback: name the address= or interface= of its fabric. Whoever "
                "reaches that port can run code in the store process (see the README)",
            )
        if self.address and self.interface:
            raise ConfigError("options address= and interface= of connector 'margo'", "name one")
        wrong = {
            "address": self.address is None or _is_host(self.address),
            "interface": self.interface is None or _is_host(self.interface),
            "port": self.port is None or self.port in _PORTS,
            "home": self.home is None or is_address(self.home),
            "timeout": math.isfinite(self.timeout) and self.timeout > 0,
            "max_nbytes": self.max_nbytes is None or self.max_nbytes > 0,
        }
        for name, right in wrong.items():
            if not right:
                asked = f"option {name}={getattr(self, name)!r} of connector 'margo'"
                raise ConfigError(asked, "it cannot have that value")
        return self
