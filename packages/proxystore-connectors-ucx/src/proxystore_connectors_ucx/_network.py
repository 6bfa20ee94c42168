"""Addresses and interfaces of this node, and connections between nodes."""

from __future__ import annotations

import fcntl
import socket
import struct

from proxystore.errors import ConfigError

__all__ = [
    "LOOPBACK",
    "dial",
    "interface_address",
    "interface_of",
    "listen",
    "local_address",
    "text_of",
    "tune",
]

LOOPBACK = "127.0.0.1"
_SIOCGIFADDR = 0x8915
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))


def interface_address(name: str) -> str:
    """The IPv4 address of a network interface of this node.

    Raises:
        ConfigError: There is no such interface, or it has no such address.
    """
    request = struct.pack("256s", name.encode()[:15])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            answer = fcntl.ioctl(sock.fileno(), _SIOCGIFADDR, request)
        except OSError as exc:
            known = tuple(found for _, found in socket.if_nameindex())
            asked = f"option interface={name!r} of connector 'ucx'"
            raise ConfigError(asked, f"it has no address ({exc.strerror})", known=known) from exc
    return socket.inet_ntoa(answer[20:24])


def interface_of(address: str) -> str | None:
    """The network interface of this node that has ``address``, if one has."""
    for _, name in socket.if_nameindex():
        try:
            if interface_address(name) == address:
                return name
        except ConfigError:
            continue
    return None


def local_address(towards: str) -> str:
    """The address that this node has towards ``host:port``. Sends nothing.

    Raises:
        OSError: There is no way there.
    """
    host, _, port = towards.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((host, int(port)))
        address: str = sock.getsockname()[0]
    return address


def listen(host: str, port: int) -> socket.socket:
    """A TCP socket that listens there; port 0 takes a free one.

    Raises:
        OSError: The address is not of this node, or somebody listens there.
    """
    return socket.create_server((host, port), backlog=128)


def dial(address: str, timeout: float) -> socket.socket:
    """A TCP connection to ``host:port``.

    Raises:
        OSError: Nobody listens there, or nobody answers within ``timeout`` seconds.
    """
    host, _, port = address.rpartition(":")
    sock = socket.create_connection((host.strip("[]"), int(port)), timeout)
    tune(sock)
    return sock


def tune(sock: socket.socket) -> None:
    """Have small frames leave at once, and a node that died noticed within 25 seconds."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def text_of(sock: socket.socket) -> str:
    """The address of a TCP socket of this node, as ``host:port``."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
