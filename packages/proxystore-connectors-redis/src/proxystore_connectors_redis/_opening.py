"""Connections made by redis-py: it resolves, negotiates TLS, authenticates and selects."""

from __future__ import annotations

import socket
from typing import Any

from proxystore.secrets import read_text_secret
from proxystore_connectors_redis._server import Server
from proxystore_connectors_redis._wire import Wire

__all__ = ["opened"]


def opened(server: Server) -> Wire:
    """A connection to the server that is at this place, whatever sentinels and nodes say.

    Raises:
        RedisError: Of redis-py: the server cannot be reached, or refused us.
        OSError: It cannot be reached.
        SecretNotFoundError: The password is not where the reference says.
        UnsafeSecretError: Others can read it there.
    """
    from redis import connection

    # Any: its classes are not fully typed.
    kind: Any = connection.SSLConnection if server.tls else connection.Connection
    if server.socket_path is not None:
        kind = connection.UnixDomainSocketConnection
    made = kind(**_place_of(server), **_options(server), db=server.db)
    made.connect()
    # The one place that takes something of redis-py's own: bulk data goes through `Wire`,
    # which needs the socket. RESP2 has sent nothing that was not asked for and read by then.
    # Nothing is left to redis-py, which would end the connection with its object.
    taken: socket.socket = made._sock
    made._sock = None
    return Wire(taken, server.timeout)


# Any in what follows: options of different types.
def _place_of(server: Server) -> dict[str, Any]:
    if server.socket_path is not None:
        return {"path": server.socket_path}
    return {"host": server.hostname, "port": server.port, "socket_keepalive": True, **_tls(server)}


def _tls(server: Server) -> dict[str, Any]:
    if not server.tls:
        return {}
    return {
        "ssl_ca_certs": server.tls_ca,
        "ssl_certfile": server.tls_cert,
        "ssl_keyfile": server.tls_key,
        "ssl_cert_reqs": "required" if server.tls_verify else "none",
        "ssl_check_hostname": server.tls_verify,
    }


def _options(server: Server) -> dict[str, Any]:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    options: dict[str, Any] = {
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": server.timeout,
        "socket_connect_timeout": server.timeout,
        "username": server.username,
    }
    if server.password is not None:
        options["password"] = read_text_secret(server.password, f"Redis at {server}")
    return options
