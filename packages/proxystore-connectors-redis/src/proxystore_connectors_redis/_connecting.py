"""Connections made by redis-py: it finds, resolves, negotiates TLS, authenticates and selects."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from typing import Any

from proxystore.errors import ProxyStoreError
from proxystore.secrets import read_text_secret
from proxystore_connectors_redis._failures import Failures
from proxystore_connectors_redis._namespace import Namespace
from proxystore_connectors_redis._server import Server, host_and_port
from proxystore_connectors_redis._wire import ServerError, Wire, ask, command

__all__ = ["Connecting"]


class Connecting:
    """Makes the connections of one connector, to wherever its namespace lies by then.

    Thread safe. All may raise `ConnectorUnavailableError` (the server cannot be reached, or
    refused us), `SecretNotFoundError` and `UnsafeSecretError` (of the password).

    Args:
        server: The server, or who knows where it is.
        namespace: What lies there.
        failures: Of the server.
        where: The namespace, for messages.
    """

    def __init__(
        self, server: Server, namespace: Namespace, failures: Failures, where: str
    ) -> None:
        self._server, self._namespace = server, namespace
        self._failures, self._where = failures, where
        self.is_made = False
        """Whether the namespace is known to have been made, so that nobody needs to ask."""

    def connect(self) -> Wire:
        """A new connection, ready for commands."""
        # Imported here: it takes a quarter of a second, and only who connects needs it.
        from redis import exceptions

        try:
            if self._server.sentinels:
                return self._of_service()
            if self._server.cluster:
                return self._in_cluster()
            return _opened(self._server)
        except ProxyStoreError:
            raise
        except (exceptions.RedisError, OSError) as error:
            raise self._explained(error) from error

    def connect_to_namespace(self) -> Wire:
        """The same, once it is known that the namespace is there.

        Raises:
            MediumGoneError: Nobody made it, or its owner has cleared it.
        """
        wire = self.connect()
        if self.is_made:
            return wire
        try:
            self._namespace.require(wire, self._where)
        except BaseException:
            wire.close()
            raise
        self.is_made = True
        if wire.is_at_rest:
            return wire
        # What came unasked would be taken for the answer to what is asked next.
        wire.close()
        return self.connect()

    def _explained(self, error: BaseException) -> ProxyStoreError:
        from redis import exceptions

        codes = {
            exceptions.AuthenticationError: "WRONGPASS",
            exceptions.BusyLoadingError: "LOADING",
            exceptions.NoPermissionError: "NOPERM",
            exceptions.ResponseError: str(error),
        }
        code = next((code for kind, code in codes.items() if isinstance(error, kind)), None)
        if code is not None:
            return self._failures.refused(code)
        if isinstance(error, (exceptions.TimeoutError, TimeoutError, BlockingIOError)):
            return self._failures.timed_out()
        return self._failures.not_reached(error)

    def _of_service(self) -> Wire:
        """A connection to the primary, of which the first sentinel tells that can be reached."""
        # Without user and password, which are those of the service.
        asked = self._server._replace(username=None, password=None, db=0)
        service = str(self._server.service).encode()
        with contextlib.closing(_to_any(asked, self._server.sentinels)) as wire:
            try:
                told = ask(wire, command(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", service))
            except ServerError as error:
                raise self._failures.not_found(str(error)) from error
        match told:
            case [bytes(host), bytes(port)]:
                return _opened(self._server.at(host.decode(), int(port)))
        raise self._failures.not_found("they do not know it")

    def _in_cluster(self) -> Wire:
        """A connection to the node that has the slot, which any other names if asked for it."""
        wire = _to_any(self._server, self._server.cluster)
        try:
            ask(wire, command(b"EXISTS", self._namespace.record))
            return wire
        except ServerError as error:
            wire.close()
            # MOVED SLOT HOST:PORT
            code, _, place = str(error).partition(" ")
            if code != "MOVED":
                raise
            return _opened(self._server.at(*host_and_port(place.partition(" ")[2])))
        except BaseException:
            wire.close()
            raise


def _to_any(server: Server, nodes: Sequence[str]) -> Wire:
    """A connection to the first of ``nodes`` that can be reached."""
    from redis import exceptions

    *others, last = nodes
    for node in others:
        with contextlib.suppress(exceptions.ConnectionError, exceptions.TimeoutError):
            return _opened(server.at(*host_and_port(node)))
    return _opened(server.at(*host_and_port(last)))


def _opened(server: Server) -> Wire:
    """A connection to the server that is at this place."""
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
