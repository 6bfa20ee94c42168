"""Addresses of this node, as others reach it."""

from __future__ import annotations

import fcntl
import socket
import struct

from proxystore.errors import ConfigError

__all__ = ["address_of", "address_towards"]

_SIOCGIFADDR = 0x8915


def address_of(interface: str) -> str:
    """The IPv4 address of a network interface, such as ``"hsn0"``.

    Raises:
        ConfigError: There is no such interface, or it has none.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # netdevice(7): struct ifreq is the name in 16 bytes, then the address.
            request = struct.pack("256s", interface.encode()[:15])
            answer = fcntl.ioctl(probe, _SIOCGIFADDR, request)
        except OSError as error:
            known = tuple(name for _, name in socket.if_nameindex())
            asked = f"interface {interface!r}"
            raise ConfigError(asked, error.strerror or str(error), known=known) from error
    return socket.inet_ntoa(answer[20:24])


def address_towards(host: str, port: int) -> str:
    """The address of this node that ``host`` sees. Sends nothing.

    Raises:
        OSError: There is no way there.
    """
    family, kind, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        # A datagram socket only looks up the route.
        probe.connect(target)
        return str(probe.getsockname()[0])
