"""Connections of one connector, and that its namespace is there."""

from __future__ import annotations

from proxystore.errors import ProxyStoreError
from proxystore_connectors_redis._failures import Failures
from proxystore_connectors_redis._finding import node_of, primary_of
from proxystore_connectors_redis._namespace import Namespace
from proxystore_connectors_redis._opening import opened
from proxystore_connectors_redis._server import Server
from proxystore_connectors_redis._wire import Wire

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
                return primary_of(self._server, self._failures)
            if self._server.cluster:
                return node_of(self._server, self._namespace.record)
            return opened(self._server)
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
