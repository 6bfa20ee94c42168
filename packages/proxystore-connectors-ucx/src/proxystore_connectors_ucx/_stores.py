"""`Stores`: the store processes of a namespace, each started, found or dialled on first need."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress

from proxystore.errors import (
    ConfigError,
    ConnectorUnavailableError,
    MediumGoneError,
    ObjectOnOtherHostError,
)
from proxystore.host.forks import remake_in_child
from proxystore.host.node import Node, this_node
from proxystore.serving import Announcement, Owner, Place, ensure_running, let_go
from proxystore.serving.addresses import address_of, address_towards, join_address, split_address
from proxystore_connectors_ucx._client import Client
from proxystore_connectors_ucx._dial import DIED, connect_local, connect_remote, shared_key
from proxystore_connectors_ucx._key import Where
from proxystore_connectors_ucx._options import Options
from proxystore_connectors_ucx._route import Route, Side
from proxystore_connectors_ucx._settings import Settings
from proxystore_connectors_ucx._wire import VERSION, Code, Frame, Link

__all__ = ["Stores"]

_LEAVE_S = 2.0
_START_S = 30.0
_HELLO = Frame(Code.FIND, "hello")


class Stores:
    """Ways to the store processes of one namespace. Thread safe.

    Args:
        options: Of the namespace.
        place: Its directory on this node.
    """

    def __init__(self, options: Options, place: Place) -> None:
        self.options, self._place = options, place
        self._lock = threading.Lock()
        self._closed = False
        self._clients: dict[tuple[str, bool], Client] = {}
        self._here: str | None = None
        self._home: str | None = None
        remake_in_child(self)

    def remade_in_child(self) -> None:
        """As `ForkAware.remade_in_child`."""
        self._lock = threading.Lock()

    def at(self, where: str, *, from_device: bool = False) -> Client:
        """The store process that has the objects whose keys say ``where``.

        Args:
            where: As `UCXKey.where`.
            from_device: For objects that are in the memory of a GPU.

        Raises:
            ObjectOnOtherHostError: It is in the memory of a node that others cannot reach.
            MediumGoneError: It was on this node, and is not there any more.
        """
        client = self._clients.get((where, from_device))
        if client is None:
            client = self._client(Where.of(where), from_device=from_device)
            with self._lock:
                client = self._clients.setdefault((where, from_device), client)
                closed = self._closed
            if closed:
                client.close()
        return client

    def here(self) -> str:
        """The store process of this node, as keys say; it is started if there is none.

        Raises:
            MediumGoneError: The owner is gone.
            ObjectOnOtherHostError: Others could not reach it.
            ConnectorUnavailableError: It does not start.
        """
        where = self._here
        if where is None:
            found = self.start()
            address = "" if self._is_home() else found.address
            self._here = where = str(Where(found.instance, address))
        return where

    def home(self) -> str:
        """The store process of the owner's node, as keys say; as `here` on that node.

        Raises:
            ConnectorUnavailableError: That node does not answer.
        """
        if self._is_home():
            where = self._here
            if where is not None and not self._is_up(where):
                self._here = None
            return self.here()
        where = self._home
        if where is not None:
            # Another one may have taken its place.
            with suppress(MediumGoneError):
                self.at(where).ask(lambda connection: connection.ask(_HELLO), repeatable=True)
                return where
        self._home = where = self._meet_home()
        return where

    def start(self, listen: str | None = None) -> Announcement:
        """What the store process of this node says of itself; it is started if there is none.

        Args:
            listen: ``host:port`` for other nodes, where it is not known from the options.

        Raises:
            MediumGoneError: The owner is gone, so that it would end at once.
            ObjectOnOtherHostError: Others could not reach it.
            ConnectorUnavailableError: It does not start, or the options name no secret.
            ConfigError: The interface that was named is not there.
            SecretNotFoundError: There is no secret on this node.
        """
        if not self._is_home():
            # Without that one it would end, with what was stored meanwhile.
            self._meet_home()
        elif self._place.owner() is Owner.GONE:
            raise self._closed_by_owner()
        settings = Settings(self.options, listen or self._listen())
        if settings.listen is not None:
            # Here, where the user sees what is wrong with it, and not in a log.
            shared_key(self.options, repr(self._place))
        command = ("-m", "proxystore_connectors_ucx._store", settings.encode())
        return ensure_running(self._place, command, protocol=VERSION, timeout=_START_S)

    def let_go(self, *, keep: bool) -> None:
        """Disown the namespace, and see its store process here end unless it is kept."""
        let_go(self._place, self._tell_to_leave, keep=keep, timeout=_LEAVE_S)

    def close(self) -> None:
        """Close every connection. Idempotent."""
        with self._lock:
            self._closed = True
            clients = list(self._clients.values())
        for client in clients:
            client.close()

    # --- Which one, and how to get there --------------------------------------

    def _is_home(self) -> bool:
        """Whether the owner's store process is found in the directory, and not over the network."""
        node = self.options.node
        if node is not None and not Node.parse(node).is_here():
            return False
        # A container of its node may have another directory, where no owner ever was.
        return self.options.address is None or self._place.owner() is not Owner.GONE

    def _is_up(self, where: str) -> bool:
        """Whether a process on this node has neither died nor another one taken its place."""
        return os.path.exists(self._socket(Where.of(where))) and self._place.is_served()

    def _home_address(self) -> str:
        if self.options.address is None:
            where = f"the memory of store process {self._place.namespace!r}"
            raise ObjectOnOtherHostError(where, str(self.options.node), str(this_node()))
        return self.options.address

    def _meet_home(self) -> str:
        """The store process of the owner's node, as keys say, which is asked."""
        sock, where = connect_remote(self.options, self._home_address(), self.options.timeout)
        sock.close()
        return where

    def _socket(self, where: Where) -> str:
        return self._place.file(where.instance)

    def _client(self, where: Where, *, from_device: bool) -> Client:
        timeout = self.options.timeout
        if os.path.exists(self._socket(where)):
            route = Route(Side.CLIENT, None, from_device)
            return Client(
                repr(self._place), lambda: self._dialled_here(where), lambda _: route, timeout
            )
        if not where.address and self._is_home():
            raise self._gone(where)
        address = where.address or self._home_address()
        return Client(
            f"{self._place!r} at {address}",
            lambda: self._dialled_there(where, address),
            lambda sock: self._route(sock, from_device=from_device),
            timeout,
        )

    def _route(self, sock: socket.socket, *, from_device: bool) -> Route:
        return Route(Side.CLIENT, self.options.network(sock.getsockname()[0]), from_device)

    def _dialled_there(self, where: Where, address: str) -> socket.socket:
        options = self.options
        try:
            return connect_remote(options, address, options.timeout, where.instance)[0]
        except MediumGoneError:
            self._forget(where)
            raise

    def _dialled_here(self, where: Where) -> socket.socket:
        try:
            return connect_local(self._socket(where), self.options.timeout)
        except TimeoutError as exc:
            found = f"it took no connection within {self.options.timeout:g} s"
            advice = "See whether that process is stopped, or ask again."
            raise ConnectorUnavailableError(repr(self._place), found, advice) from exc
        except (FileNotFoundError, ConnectionRefusedError) as exc:
            self._forget(where)
            raise self._gone(where) from exc

    def _forget(self, where: Where) -> None:
        """Ask anew which process there is in place of the one at ``where``, which is gone."""
        if self._here == str(where):
            self._here = None
        if self._home == str(where):
            self._home = None

    def _listen(self) -> str | None:
        options = self.options
        if options.address is None or self._is_home():
            return options.address
        if options.interface is not None:
            return join_address(address_of(options.interface), 0)
        try:
            return join_address(address_towards(*split_address(options.address)), 0)
        except OSError as exc:
            asked = f"option address={options.address!r} of connector 'ucx'"
            raise ConfigError(asked, f"this node has no way there ({exc.strerror})") from exc

    def _tell_to_leave(self, found: Announcement) -> None:
        # Otherwise it has ended meanwhile, or is stopped, and will see by itself.
        with suppress(OSError), connect_local(self._place.file(found.instance), _LEAVE_S) as sock:
            Link(sock).send(Frame(Code.LEAVE))

    def _gone(self, where: Where) -> MediumGoneError:
        # Those of other nodes have no owner beside them.
        if not where.address and self._place.owner() is Owner.GONE:
            return self._closed_by_owner()
        return MediumGoneError(repr(self._place), *DIED)

    def _closed_by_owner(self) -> MediumGoneError:
        found = "its owner has closed it, or has ended"
        advice = "Make a new store, and keep it open until every proxy of it has been used."
        return MediumGoneError(repr(self._place), found, advice)
