"""Which store process has an object, and which one takes a new one."""

from __future__ import annotations

import os
import sys
import threading
import time
from functools import partial

import zmq

from proxystore.errors import (
    ConnectorUnavailableError,
    MediumGoneError,
    ObjectOnOtherHostError,
)
from proxystore.host.forks import remake_in_child
from proxystore.host.home import home
from proxystore.host.node import Node, this_node
from proxystore.serving import Announcement, Owner, Place, check_protocol, ensure_running
from proxystore.serving.addresses import (
    address_towards,
    join_address,
    resolve,
    split_address,
)
from proxystore_connectors_zmq._address import Address
from proxystore_connectors_zmq._channel import Endpoint
from proxystore_connectors_zmq._client import Client
from proxystore_connectors_zmq._curve import Keys
from proxystore_connectors_zmq._gone import gone
from proxystore_connectors_zmq._options import Options, command
from proxystore_connectors_zmq._wire import PROTOCOL, where_of

__all__ = ["Processes"]

_MAX_SOCKETS = 16384
_DEATH_SECONDS = 1.0
_POLL_SECONDS = 0.002
_HOME = ""
"""In place of where the process on the owner's node is, until it has said so."""


class Processes:
    """The store processes of a namespace. Thread safe.

    Args:
        place: Their directory on this node.
        address: What the connector is told of them.
    """

    def __init__(self, place: Place, address: Address) -> None:
        self.place, self.address = place, address
        self._begin()
        self._of_parent: list[object] = []
        remake_in_child(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._clients: dict[str, Client] = {}
        self._here: str | None = None

    def __del__(self) -> None:
        # Or the context would close the sockets in whatever order, and hang (see `disconnect`).
        # Not at the end of the interpreter, where the thread that waits runs no more.
        if not sys.is_finalizing():
            self.close()

    def remade_in_child(self) -> None:
        # Kept, for to free them would touch what the parent's threads were using.
        self._of_parent += [self._context, self._clients]
        self._begin()

    def here(self) -> tuple[str, Client]:
        """Where new objects go: the process on this node, started if there is none.

        Raises:
            MediumGoneError: The owner has closed the namespace, or died.
            ObjectOnOtherHostError: It is one of another node.
            ConnectorUnavailableError: The process could not be started, or home not reached.
        """
        where = self._here
        if where is None:
            where = _where(self._running())
            self._here = where
        return where, self.at(where)

    def at(self, where: str) -> Client:
        """The process that has, or had, the objects there.

        Raises:
            MediumGoneError: It is gone.
            ObjectOnOtherHostError: It is on another node, which cannot be reached.
        """
        client = self._clients.get(where)
        if client is None:
            client = self._connected(where, self._endpoint(where))
        return client

    def home(self) -> str:
        """Where objects are whose keys are made before them: the process on the owner's node.

        Raises:
            MediumGoneError: The owner has closed the namespace, or died.
            ObjectOnOtherHostError: It is on another node, which cannot be reached.
            ConnectorUnavailableError: It could not be started, or reached.
        """
        if self.address.home is None or self.place.owner() is not Owner.GONE:
            return _where(self._running())
        return self.at(_HOME).hello()

    def leave(self, where: str) -> bool:
        """Let go of the process at ``where`` if it has ended, so that the next use starts another.

        Returns:
            Whether it has. The system may take a moment to say so of one that was killed.
        """
        self._here = None
        client = self._clients.pop(where, None)
        if client is not None:
            client.close()
        deadline = time.monotonic() + _DEATH_SECONDS
        while (found := self.place.announced()) is not None and _where(found) == where:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def start(self) -> Announcement:
        """See to it that the process here runs; as `here`."""
        return self._running()

    def release(self, found: Announcement) -> None:
        """Have the process here see that its owner is gone."""
        self.at(_where(found)).release()

    def close(self) -> None:
        """Let go of all connections, once the calls of other threads are over."""
        with self._lock:
            clients, context = list(self._clients.values()), self._context
        for client in clients:
            client.close()
        if context is not None:
            context.term()

    def _connected(self, where: str, endpoint: Endpoint) -> Client:
        with self._lock:
            if self._context is None:
                self._context = zmq.Context()
                self._context.max_sockets = _MAX_SOCKETS
            if where not in self._clients:
                self._clients[where] = Client(self._context, endpoint, self.address.timeout)
            return self._clients[where]

    def _endpoint(self, where: str) -> Endpoint:
        instance, _, address = where.partition("@")
        socket = self.place.file(instance)
        if where != _HOME and os.path.exists(socket):
            # Not methods of this object, which has the clients of such endpoints: in a circle a
            # connector that nobody closed keeps its sockets, for which the context waits.
            is_served = partial(_is_served, self.place, socket)
            is_owned = partial(_is_owned, self.place)
            title = repr(self.place)
            return Endpoint(f"ipc://{socket}", title, is_served=is_served, is_owned=is_owned)
        is_home = where == _HOME
        if is_home:
            instance, address = self.place.namespace, self.address.home or ""
        if address:
            title = f"{self.place!r} at {address}"
            keys = self._keys(title)
            # If the home is not there, neither is its owner.
            return Endpoint(
                f"tcp://{_numeric(address)}", title, instance, keys, is_owned=lambda: not is_home
            )
        self._require_node()
        raise self._gone("the store process that it was in has ended, and its objects with it")

    def _secret(self) -> str:
        return self.address.secret or f"file:{home() / 'secrets' / 'zmq'}"

    def _keys(self, needed_by: str) -> Keys:
        return Keys.read(self._secret(), needed_by)

    def _running(self) -> Announcement:
        self._require_node()
        found = self.place.announced()
        if found is None:
            found = ensure_running(self.place, command(self._options()), protocol=PROTOCOL)
        check_protocol(self.place, found, PROTOCOL)
        return found

    def _options(self) -> Options:
        """What to tell a process that starts here."""
        address = self.address
        owner = self.place.owner()
        if owner is Owner.LEFT or (owner is Owner.GONE and address.home is None):
            raise self._gone("its owner has closed it, or died")
        if address.home is None:
            return Options(address.max_nbytes)
        # Here, where it can be told to the user.
        self._keys(repr(self.place))
        host, port = split_address(address.home)
        if owner is Owner.LIVES:
            return Options(address.max_nbytes, host, port, self._secret())
        # Here or nowhere: a process without a home would end at once.
        self.home()
        own = address_towards(host, port)
        return Options(address.max_nbytes, own, 0, self._secret(), _numeric(address.home))

    def _require_node(self) -> None:
        node = self.address.node
        if node is not None and not Node.parse(node).is_here():
            raise ObjectOnOtherHostError(f"the memory of {self.place!r}", node, str(this_node()))

    def _gone(self, found: str) -> MediumGoneError:
        where = f"{self.place!r} on host {this_node().host!r}"
        return gone(where, found, is_owned=_is_owned(self.place))


def _is_owned(place: Place) -> bool:
    return place.owner() is Owner.LIVES


def _is_served(place: Place, socket: str) -> bool:
    # Another process may be in its place, which begins by removing the socket.
    return place.is_served() and os.path.exists(socket)


def _numeric(address: str) -> str:
    """``address``, with the number of its host, for libzmq would look for it for ever."""
    host, port = split_address(address)
    try:
        return join_address(resolve(host), port)
    except OSError as error:
        raise ConnectorUnavailableError(
            address,
            f"{host} does not resolve on host {this_node().host!r} ({error.strerror})",
            "See that the URL or config is right, and that this node knows the other one's name.",
        ) from error


def _where(found: Announcement) -> str:
    return where_of(found.instance, found.address)
