"""`Stores`: the store processes of a namespace, each started, found or dialled on first need."""

from __future__ import annotations

import os
import socket
import threading

from proxystore.errors import (
    ConfigError,
    ConnectorUnavailableError,
    MediumGoneError,
    ObjectOnOtherHostError,
)
from proxystore.host.forks import remake_in_child
from proxystore.host.node import this_node
from proxystore.serving import Announcement, Owner, Place, check_protocol, ensure_running
from proxystore_connectors_ucx._client import Client, connect_local, connect_remote
from proxystore_connectors_ucx._key import HOME
from proxystore_connectors_ucx._network import interface_address, local_address
from proxystore_connectors_ucx._options import Options
from proxystore_connectors_ucx._settings import SOCKET, Settings
from proxystore_connectors_ucx._wire import VERSION, Code, Frame

__all__ = ["Stores"]

_LEAVE_S = 2.0
_START_S = 30.0


class Stores:
    """Ways to the store processes of one namespace. Thread safe.

    Args:
        options: Of the namespace.
        place: Its directory on this node.
    """

    def __init__(self, options: Options, place: Place) -> None:
        self.options, self._place = options, place
        self._lock = threading.Lock()
        self._clients: dict[str, Client] = {}
        remake_in_child(self)

    def remade_in_child(self) -> None:
        """As `ForkAware.remade_in_child`."""
        self._lock = threading.Lock()

    def at(self, address: str) -> Client:
        """The store process that has the objects whose keys say ``address``.

        Raises:
            ObjectOnOtherHostError: It is in the memory of a node that others cannot reach.
        """
        client = self._clients.get(address)
        if client is not None:
            return client
        if self._is_here(address):
            return self._add(address, self._client_here())
        target = self.options.address if address == HOME else address
        if target is None:
            where = f"the memory of store process {self._place.namespace!r}"
            raise ObjectOnOtherHostError(where, self.options.node, str(this_node()))
        return self._add(address, self._client_there(target))

    def here(self) -> tuple[str, Client]:
        """The store process of this node, and what keys say of it.

        Raises:
            ObjectOnOtherHostError: Others could not reach it.
            ConnectorUnavailableError: It does not start.
        """
        if self.options.is_here:
            return HOME, self.at(HOME)
        if self.options.address is None:
            self.at(HOME)
        announced = self._place.announced() or self.start()
        return announced.address, self.at(announced.address)

    def start(self, listen: str | None = None) -> Announcement:
        """What the store process of this node says of itself; it is started if there is none.

        Args:
            listen: ``host:port`` for other nodes, where it is not known from the options.

        Raises:
            MediumGoneError: The owner is gone, so that it would end at once.
            ConnectorUnavailableError: It does not start; the end of its log is in the message.
            ConfigError: The interface that was named is not there.
        """
        if self.options.is_here and self._place.owner() is Owner.GONE:
            raise self._gone("its owner has closed it, or has ended")
        settings = Settings(self.options, listen or self._listen()).encode()
        command = ("-m", "proxystore_connectors_ucx._store", settings)
        return ensure_running(self._place, command, protocol=VERSION, timeout=_START_S)

    def end_here(self) -> None:
        """Have the store process of this node see that its owner has let go, and see it end."""
        if not self._place.is_served():
            self._place.clear()
            return
        client = self._client_here()
        try:
            client.ask(lambda connection: connection.ask(Frame(Code.LEAVE)))
            client.ask(lambda connection: connection.until_gone(_LEAVE_S))
        except ConnectorUnavailableError:
            # It had ended before it could answer.
            return
        finally:
            client.close()

    def close(self) -> None:
        """Close every connection. Idempotent."""
        with self._lock:
            clients = list(self._clients.values())
        for client in clients:
            client.close()

    # --- Which one, and how to get there --------------------------------------

    def _is_here(self, address: str) -> bool:
        if address == HOME:
            return self.options.is_here
        announced = self._place.announced()
        return announced is not None and announced.address == address

    def _add(self, address: str, client: Client) -> Client:
        with self._lock:
            return self._clients.setdefault(address, client)

    def _client_here(self) -> Client:
        return Client(repr(self._place), self._connect_here, lambda _: None, self.options.timeout)

    def _client_there(self, address: str) -> Client:
        options = self.options
        return Client(
            f"{self._place!r} at {address}",
            lambda: connect_remote(options, address, options.timeout),
            options.network,
            options.timeout,
        )

    def _connect_here(self) -> socket.socket:
        path, timeout = self._place.file(SOCKET), self.options.timeout
        try:
            sock = connect_local(path, timeout)
        except (FileNotFoundError, ConnectionRefusedError):
            self._begin()
            return connect_local(path, timeout)
        announced = self._place.announced()
        if announced is not None:
            check_protocol(self._place, announced, VERSION)
        return sock

    def _begin(self) -> None:
        """Start the store process of this node, unless one died that had objects."""
        if os.path.exists(self._place.file("address")) and not self._place.is_served():
            raise self._gone("its process has died, and the objects with it")
        self.start()

    def _listen(self) -> str | None:
        options = self.options
        if options.address is None or options.is_here:
            return options.address
        if options.interface is not None:
            return f"{interface_address(options.interface)}:0"
        try:
            return f"{local_address(options.address)}:0"
        except OSError as exc:
            asked = f"option address={options.address!r} of connector 'ucx'"
            raise ConfigError(asked, f"this node has no way there ({exc.strerror})") from exc

    def _gone(self, found: str) -> MediumGoneError:
        advice = "Keep its owner open until every proxy has been used; a put starts it anew."
        return MediumGoneError(repr(self._place), found, advice)
