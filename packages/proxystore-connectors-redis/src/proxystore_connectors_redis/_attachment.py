"""A connector's hold on its namespace: the connections, who owns it, and the end of both."""

from __future__ import annotations

import os
from functools import partial

from proxystore.connectors.keys import fresh_id
from proxystore.errors import ClosedError, ConnectorUnavailableError, NotOwnerError
from proxystore_connectors_redis._connecting import Connecting
from proxystore_connectors_redis._failures import Failures
from proxystore_connectors_redis._layout import OPEN
from proxystore_connectors_redis._namespace import Namespace
from proxystore_connectors_redis._pool import Pool
from proxystore_connectors_redis._server import Server
from proxystore_connectors_redis._waiting import Notices

__all__ = ["Attachment"]


class Attachment:
    """A namespace in use. Connects when it is first used. Thread safe.

    Args:
        server: Where the namespace is.
        namespace: Its name.
    """

    def __init__(self, server: Server, namespace: str) -> None:
        self.server = server
        self.namespace = Namespace(namespace, in_one_slot=bool(server.cluster))
        self.where = f"namespace {namespace!r} of {server}"
        failures = Failures(str(server), server.timeout)
        self._connecting = Connecting(server, self.namespace, failures, self.where)
        self._name = f"The connector to {self.where}"
        make = self._connecting.connect_to_namespace
        self._pool = Pool(make, failures, server.timeout, self._name)
        self.run = self._pool.run
        self.notices = Notices(self._connecting.connect, failures, server.timeout)
        self._owner_pid: int | None = None
        # What the record of the namespace is while it is ours.
        self._mine = OPEN + fresh_id().encode()
        self._clears = False
        self._is_closed = False

    def own(self, *, clear: bool, adopt: bool) -> None:
        """Own the namespace if nobody does, or with ``adopt``.

        Raises:
            ConnectorUnavailableError: The server cannot be used, or a newer version of
                this package made the namespace.
        """
        self._connecting.is_made = True
        claim = partial(self.namespace.claim, mine=self._mine, where=self.where, adopt=adopt)
        try:
            if self._pool.run(claim):
                self._owner_pid, self._clears = os.getpid(), clear
        except BaseException:
            self._pool.close()
            raise

    @property
    def is_owner(self) -> bool:
        """Whether this process made or adopted the namespace here."""
        return self._owner_pid == os.getpid()

    def check_open(self, state: bytes) -> None:
        """Return if objects may be written, going by how the record of the namespace begins.

        A record that the server has lost is made anew by who owned it.

        Raises:
            MediumGoneError: The owner has cleared the namespace, or the record is lost and
                was never ours.
            ConnectorUnavailableError: A newer version of this package made it, or the
                server cannot be used.
        """
        if not state and self.is_owner:
            self.run(partial(self.namespace.renew, mine=self._mine, where=self.where))
        else:
            self.namespace.check_open(state, self.where)

    def require_open(self) -> None:
        """Return if `close` was not called yet.

        Raises:
            ClosedError: It was.
        """
        if self._is_closed:
            raise ClosedError(self._name)

    def close(self, *, clear: bool | None) -> None:
        """As `Connector.close`.

        Raises:
            NotOwnerError: ``clear=True``, and the namespace is not ours, or not any more.
            ConnectorUnavailableError: The server cannot be used: nothing, or not everything,
                was removed. The connector stays open, and can be closed again.
        """
        if self._is_closed:
            return
        if clear and not self.is_owner:
            raise NotOwnerError(self.where)
        clears = self.is_owner and (self._clears if clear is None else clear)
        was_ours = self._cleared() if clears else True
        self._is_closed = True
        self._pool.close()
        self.notices.close(self._name)
        if clear and not was_ours:
            raise NotOwnerError(self.where)

    def _cleared(self) -> bool:
        """Whether the namespace was still ours, and so was cleared."""
        try:
            return self._pool.run(partial(self.namespace.clear, mine=self._mine))
        except ConnectorUnavailableError as error:
            raise ConnectorUnavailableError(
                self.where,
                f"what is in it could not be removed, for {error.found}",
                f"{error.advice} Then close it again, or with clear=False to leave it; or "
                f"in another process: RedisConnector(..., namespace={self.namespace.name!r}, "
                f"adopt=True).close().",
            ) from error
