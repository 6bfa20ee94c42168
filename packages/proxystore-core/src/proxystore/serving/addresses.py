"""Network addresses: of this node, as others reach it, and ``host:port`` as text."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from typing import Any

from proxystore.errors import ConfigError

__all__ = [
    "address_of",
    "address_towards",
    "join_address",
    "listening_address",
    "resolve",
    "split_address",
]

_SIOCGIFADDR = 0x8915
_EVERYWHERE = frozenset({"", "*"})


def listening_address(connector: str, address: str | None, interface: str | None) -> str | None:
    """The numeric address of this node that others are to use, if one of both is given.

    Args:
        connector: Kind of the connector that has these options, for messages.
        address: Or a name that resolves to it.
        interface: Name of a network interface, such as ``"hsn0"``; its IPv4 address.

    Raises:
        ConfigError: Both are given; ``address`` does not resolve, or is that of all
            interfaces, which others cannot use, or one of a link without the interface
            to it; there is no such interface.
    """
    if address is not None and interface is not None:
        asked = f"address={address!r} and interface={interface!r} of connector {connector!r}"
        raise ConfigError(asked, "each says where to listen: give one")
    for name, value in (("address", address), ("interface", interface)):
        if value is not None and not isinstance(value, str):
            raise ConfigError(_option(name, value, connector), "it is text, or None")
    if interface is not None:
        return address_of(interface)
    return None if address is None else _numeric(connector, address)


def _numeric(connector: str, address: str) -> str:
    if address in _EVERYWHERE:
        raise _of_all_interfaces(connector, address)
    try:
        numeric = resolve(address.strip("[]"))
    except OSError as error:
        found = f"it does not resolve here ({error.strerror})"
        raise ConfigError(_option("address", address, connector), found) from error
    if _is_unspecified(numeric):
        raise _of_all_interfaces(connector, address)
    if _lacks_interface(numeric):
        found = f"it is one of each link: name the interface of yours too, as in {numeric}%eth0"
        raise ConfigError(_option("address", address, connector), found)
    return numeric


def address_of(interface: str) -> str:
    """The IPv4 address of a network interface, such as ``"hsn0"``.

    Raises:
        ConfigError: There is no such interface, or it has none.
    """
    # netdevice(7): struct ifreq is the name in 16 bytes, then the address.
    request = struct.pack("256s", interface.encode()[:15])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, _SIOCGIFADDR, request)
        except OSError as error:
            known = tuple(name for _, name in socket.if_nameindex())
            found = f"it has no IPv4 address ({error.strerror})"
            raise ConfigError(f"interface {interface!r}", found, known=known) from error
    return socket.inet_ntoa(answer[20:24])


def address_towards(host: str, port: int) -> str:
    """The address of this node that ``host`` sees. Sends nothing.

    Raises:
        OSError: ``host`` does not resolve, or there is no way there.
    """
    family, address = _resolved(host, port)
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        # A datagram socket only looks up the route.
        probe.connect(address)
        return _text_of(probe.getsockname())


def resolve(host: str) -> str:
    """The numeric address of ``host``, IPv4 if it has one.

    One of a single link keeps its interface, as in ``fe80::1%eth0``.
    Blocks for as long as the resolver of this node takes.

    Raises:
        OSError: There is no such host.
    """
    return _text_of(_resolved(host, 0)[1])


# Any: an address of IPv6 has four parts, one of IPv4 two.
def _resolved(host: str, port: int) -> tuple[int, tuple[Any, ...]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(socket.EAI_NONAME, "no host can have that name") from error
    family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    return family, address


def _text_of(address: tuple[Any, ...]) -> str:
    # Its first part alone would be without the interface that a link-local address is reached by.
    return socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]


def split_address(text: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[host]:port``; port 0 is any that is free.

    Raises:
        ValueError: It has another form, or the port is above 65535.
    """
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    is_port = port.isascii() and port.isdigit() and int(port) < 1 << 16
    if not (bare and is_port) or (bare == host and ":" in host):
        raise ValueError(f"{text!r} is not of the form host:port, or [host]:port for IPv6")
    return bare, int(port)


def join_address(host: str, port: int | str) -> str:
    """``host:port``, which `split_address` splits; a host of IPv6 is bracketed."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_unspecified(numeric: str) -> bool:
    parsed = ipaddress.ip_address(numeric)
    # One of IPv4 written as IPv6, such as ::ffff:0.0.0.0, is listened on as the former.
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_unspecified


def _lacks_interface(numeric: str) -> bool:
    parsed = ipaddress.ip_address(numeric)
    if not isinstance(parsed, ipaddress.IPv6Address):
        return False
    return parsed.is_link_local and parsed.scope_id is None


def _of_all_interfaces(connector: str, address: str) -> ConfigError:
    found = "it takes the one address, or interface=, at which other nodes reach this one"
    return ConfigError(_option("address", address, connector), found)


def _option(name: str, value: object, connector: str) -> str:
    return f"option {name}={value!r} of connector {connector!r}"
