"""TCP connections between nodes, and the interface that has an address."""

from __future__ import annotations

import socket

from proxystore.errors import ConfigError
from proxystore.serving.addresses import address_of, join_address, split_address

__all__ = ["LOOPBACK", "dial", "interface_of", "listen", "text_of", "tune"]

LOOPBACK = "127.0.0.1"
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))


def interface_of(address: str) -> str | None:
    """The network interface of this node that has the IPv4 ``address``, if one has."""
    for _, name in socket.if_nameindex():
        try:
            if address_of(name) == address:
                return name
        except ConfigError:
            continue
    return None


def listen(address: str) -> socket.socket:
    """A TCP socket that listens at ``host:port``; port 0 takes a free one.

    Raises:
        OSError: The host is not of this node, or somebody listens there.
    """
    return socket.create_server(split_address(address), backlog=128)


def dial(address: str, timeout: float) -> socket.socket:
    """A TCP connection to ``host:port``.

    Raises:
        OSError: Nobody listens there, or nobody answers within ``timeout`` seconds.
    """
    sock = socket.create_connection(split_address(address), timeout)
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
    return join_address(*sock.getsockname()[:2])
