"""What says which namespace, where it lives and how to get there: as options and as a URL."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Self
from urllib.parse import quote, unquote, urlsplit

from proxystore.connectors.options import check_options, options_from_query, query_from_options
from proxystore.errors import ConfigError
from proxystore.host.node import Node, this_node
from proxystore.secrets import check_reference
from proxystore_connectors_ucx._key import is_address
from proxystore_connectors_ucx._network import interface_of
from proxystore_connectors_ucx._route import Network

__all__ = ["LONGEST_S", "TIMEOUT_S", "Options"]

TIMEOUT_S = 10.0
LONGEST_S = 1e6
"""What the calls of the system take as seconds to wait, and some more: eleven days."""


def _number(text: str) -> float:
    try:
        # However large.
        return int(text)
    except ValueError:
        return float(text)


_TEXTS = ("namespace", "node", "address", "interface", "transports", "devices")


@dataclass(frozen=True)
class Options:
    """Where the objects of a namespace are, and how to reach them. Plain values only."""

    namespace: str
    node: str | None = None
    """The `proxystore.host.node.Node` of the owner; `None` where only ``address`` tells."""
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

    _IN_URL: ClassVar[Mapping[str, Callable[[str], Any]]] = {
        "devices": str,
        "interface": str,
        "max_nbytes": _number,
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
        for name in _TEXTS:
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise _wrong(name, value, "it takes text")
        if self.address is not None and not is_address(self.address):
            raise _wrong("address", self.address, "it takes host:port")
        if self.secret is not None:
            check_reference(self.secret, "secret")
        if not (_is_number(self.timeout) and 0 < self.timeout <= LONGEST_S):
            found = f"it takes a number of seconds above 0, and at most {LONGEST_S:g}"
            raise _wrong("timeout", self.timeout, found)
        if self.max_nbytes is not None:
            if not (_is_number(self.max_nbytes) and _is_whole(self.max_nbytes)):
                found = "it takes a whole number of bytes above 0"
                raise _wrong("max_nbytes", self.max_nbytes, found)
            # 1e9 too, for configs that are equal.
            object.__setattr__(self, "max_nbytes", int(self.max_nbytes))
        if self.node is not None:
            try:
                Node.parse(self.node)
            except ValueError as exc:
                raise _wrong("node", self.node, str(exc)) from exc

    def network(self, host: str) -> Network:
        """How UCX goes between nodes: by the interface of ``host``, unless told otherwise.

        Args:
            host: Address of this node in the network that it shares with the other.
        """
        devices = self.devices or interface_of(host)
        return Network(self.transports, devices)

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
        options = cls(**config)
        if options.node is None and options.address is None:
            # Nobody else could be meant.
            return replace(options, node=str(this_node()))
        return options

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The options that gave ``url``; without address and ``node``, of one of this node.

        Raises:
            ConfigError: It has another form, or an option of it is wrong.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            # With neither the URL nor the cause, for both may hold what could be a secret.
            found = "its host cannot be read"
            raise ConfigError("the URL of connector 'ucx'", found) from None
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


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: float) -> bool:
    return 0 < value < math.inf and value == int(value)


def _wrong(option: str, value: object, found: str) -> ConfigError:
    return ConfigError(f"option {option}={value!r} of connector 'ucx'", found)
