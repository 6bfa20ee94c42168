"""The store processes of a namespace: where they are, started when they are needed."""

from __future__ import annotations

import threading

from proxystore.errors import MediumGoneError, ObjectOnOtherHostError
from proxystore.host.forks import remake_in_child
from proxystore.host.memory import usable_nbytes
from proxystore.host.node import this_node
from proxystore.serving import Owner, Place, ensure_running
from proxystore_connectors_margo._messages import VERSION
from proxystore_connectors_margo._options import Options

__all__ = ["Processes"]

_SERVER = "proxystore_connectors_margo._server"


class Processes:
    """The store process of this node, and the one of the owner's node, its home. Thread safe."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.place = Place("margo", options.namespace)
        self.is_home = options.node.is_here()
        """Whether this is the owner's node."""
        self._address: str | None = None
        self._finding = threading.Lock()
        remake_in_child(self)

    def remade_in_child(self) -> None:
        self._finding = threading.Lock()

    def require_reach(self) -> None:
        """Return if this node can reach the namespace.

        Raises:
            ObjectOnOtherHostError: It is in shared memory, or on loopback, of another node.
        """
        if not (self.is_home or self._options.crosses_nodes):
            here, node = this_node(), self._options.node
            medium = f"a store process without address= or interface= ({self.place.namespace})"
            raise ObjectOnOtherHostError(medium, node.host, here.host)

    def local(self) -> str:
        """The address of the store process of this node, which is started if there is none.

        That of the home, where other nodes cannot listen: only an interface is of all nodes.

        Raises:
            MediumGoneError: This is the owner's node, and the owner is gone.
            ConnectorUnavailableError: The process cannot be started.
        """
        if not self.is_home and self._options.interface is None:
            return self.home()
        with self._finding:
            if self._address is None:
                self._address = self._started()
            return self._address

    def home(self) -> str:
        """The address of the store process of the owner's node.

        Raises:
            MediumGoneError: This is the owner's node, and the owner is gone; or nobody
                said where the home of another node is.
            ConnectorUnavailableError: The process cannot be started.
        """
        if self.is_home:
            return self.local()
        if self._options.home is None:
            raise MediumGoneError(
                f"namespace {self._options.namespace!r} on host {self._options.node.host!r}",
                "the config or URL does not say where its store process is",
                "Take config() or url of a connector on that host.",
            )
        return self._options.home

    def has_ended(self, address: str) -> bool:
        """Whether the store process at ``address`` was on this node, and has ended."""
        with self._finding:
            was_local = address == self._address
            if was_local:
                # Looked for anew: there may be another one by now.
                self._address = None
        found = self.place.announced()
        was_here = was_local or not self._options.protocol.crosses_nodes
        return was_here and (found is None or found.address != address)

    def _started(self) -> str:
        if self.is_home and self.place.owner() is Owner.GONE:
            raise MediumGoneError(
                repr(self.place),
                "its owner has closed it or ended",
                "Keep the store that made it open until every proxy was used.",
            )
        options = self._options
        engines = (
            options.protocol.listening(options.host, options.port),
            options.protocol.calling(options.host),
        )
        max_nbytes = str(options.max_nbytes or usable_nbytes() // 4)
        command = ("-m", _SERVER, *engines, max_nbytes, "" if self.is_home else self.home())
        return ensure_running(self.place, command, protocol=VERSION).address
