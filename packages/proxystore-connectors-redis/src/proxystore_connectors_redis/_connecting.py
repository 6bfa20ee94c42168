"""Connections made by redis-py: it resolves, negotiates TLS, authenticates and selects."""

from __future__ import annotations

import socket
from typing import Any

from proxystore.errors import ProxyStoreError
from proxystore.secrets import read_text_secret
from proxystore_connectors_redis._address import Server
from proxystore_connectors_redis._failures import Failures
from proxystore_connectors_redis._wire import Wire

__all__ = ["connect"]


def connect(server: Server, failures: Failures) -> Wire:
    """A new connection to ``server``, ready for commands.

    Raises:
        ConnectorUnavailableError: It cannot be reached, or refused us.
        SecretNotFoundError: The password is not where the reference says.
        UnsafeSecretError: Others can read its file.
    """
    # Imported here: it takes a quarter of a second, and only who connects needs it.
    from redis import exceptions

    try:
        return Wire(_socket(server), server.timeout)
    except exceptions.AuthenticationError as error:
        raise failures.refused("WRONGPASS") from error
    except exceptions.NoPermissionError as error:
        raise failures.refused("NOPERM") from error
    except exceptions.BusyLoadingError as error:
        raise failures.refused("LOADING") from error
    except exceptions.TimeoutError as error:
        raise failures.timed_out() from error
    except ProxyStoreError:
        raise
    except (exceptions.RedisError, OSError) as error:
        raise failures.not_reached(error) from error


def _socket(server: Server) -> socket.socket:
    from redis import connection

    # Any: its classes are not fully typed.
    kind: Any = connection.SSLConnection if server.tls else connection.Connection
    if server.socket_path is not None:
        kind = connection.UnixDomainSocketConnection
    made = kind(**_options(server))
    made.connect()
    # The one place that takes something of redis-py's own: bulk data goes through `Wire`,
    # which needs the socket. RESP2 has sent nothing that was not asked for and read by then.
    # Nothing is left to redis-py, which would end the connection with its object.
    taken: socket.socket = made._sock
    made._sock = None
    return taken


# Any: options of different types.
def _options(server: Server) -> dict[str, Any]:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    options: dict[str, Any] = {
        "db": server.db,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": server.timeout,
        "socket_connect_timeout": server.timeout,
        "username": server.username,
    }
    if server.password is not None:
        options["password"] = read_text_secret(server.password, f"Redis at {server}")
    if server.socket_path is not None:
        return {**options, "path": server.socket_path}
    options |= {"host": server.hostname, "port": server.port, "socket_keepalive": True}
    if server.tls:
        options |= {
            "ssl_ca_certs": server.tls_ca,
            "ssl_certfile": server.tls_cert,
            "ssl_keyfile": server.tls_key,
            "ssl_cert_reqs": "required" if server.tls_verify else "none",
            "ssl_check_hostname": server.tls_verify,
        }
    return options
