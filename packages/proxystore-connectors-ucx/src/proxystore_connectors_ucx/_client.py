"""Connections to store processes: opened when needed, kept, used by one thread at a time."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from proxystore.errors import ClosedError, ConnectorUnavailableError
from proxystore.host.forks import remake_in_child
from proxystore.payload import BytesLike
from proxystore_connectors_ucx._channel import Channel, ChannelError, NoWayError
from proxystore_connectors_ucx._device import Piece
from proxystore_connectors_ucx._dial import explained
from proxystore_connectors_ucx._options import LONGEST_S
from proxystore_connectors_ucx._pages import Pages
from proxystore_connectors_ucx._route import Route
from proxystore_connectors_ucx._wire import (
    Code,
    Frame,
    Link,
    OtherVersionError,
    WireError,
    checked_address,
    pack_address,
    pack_lengths,
)

__all__ = ["Client", "Connection"]

_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR
_MAX_IDLE = 16
_KEPT_NBYTES = 1 << 28
# The first channel of a store process: it loads UCX, half a second on an idle machine.
_LOAD_S = 20.0
_PAUSE_S = 0.01


class Connection:
    """One connection to a store process, and the channel beside it once one was needed.

    Args:
        sock: Connected to it.
        route: How UCX goes to it.
        timeout: Seconds to wait for an answer, and for a transfer to move on.
        pages: Where large objects are received.
    """

    def __init__(self, sock: socket.socket, route: Route, timeout: float, pages: Pages) -> None:
        self.sock, self._route, self._timeout, self._pages = sock, route, timeout, pages
        self._link = Link(sock)
        self._channel: Channel | None = None

    def is_stale(self) -> bool:
        """Whether the store process has ended, or sent what nobody asked for."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN | _GONE)
        return bool(poll.poll(0))

    def ask(self, question: Frame, pieces: Sequence[BytesLike] = ()) -> Frame:
        """The answer to ``question``, with an object of as many bytes as it says.

        Raises:
            EOFError, OSError, WireError, ChannelError: It did not work. The
                connection cannot be used any more.
        """
        self._link.send(question, pieces)
        return self._link.receive()

    def write(self, question: Frame, pieces: Sequence[Piece]) -> Frame:
        """The answer to a ``question`` that stores an object which goes into no frame."""
        channel = self._opened()
        lengths = pack_lengths(pieces)
        answer = self.ask(question._replace(number=len(pieces), body=lengths))
        if answer.code is not Code.GO:
            return answer
        channel.send(pieces, self._timeout)
        return self._link.receive()

    def read(self, question: Frame) -> Frame:
        """The answer to a ``question`` for an object, with the object as its body."""
        answer = self.ask(question)
        if answer.code is Code.CHANNEL_FIRST:
            self._opened()
            answer = self.ask(question)
        if answer.code is not Code.GO:
            return answer._replace(body=memoryview(answer.body))
        memory = self._pages.take(answer.nbytes)
        self._opened().receive([memory], self._timeout)
        return answer._replace(code=Code.DONE, body=memory)

    def wait(self, question: Frame) -> Frame:
        """The answer to a ``question`` that takes as long as it says."""
        seconds = question.seconds + self._timeout
        self.sock.settimeout(None if seconds > LONGEST_S else seconds)
        answer = self.ask(question)
        self.sock.settimeout(self._timeout)
        return answer

    def close(self) -> None:
        """End it. Whoever waits for an answer gets `EOFError`."""
        # In this order: the store process frees what the channel writes to when the socket ends.
        if self._channel is not None:
            self._channel.close()
        self.sock.close()

    def abandon(self) -> None:
        """Let go of it in a forked child, without a word to the other side."""
        if self._channel is not None:
            self._channel.abandon()
        self.sock.close()

    def _opened(self) -> Channel:
        if self._channel is None:
            channel = Channel(self.sock, self._route)
            tag = os.urandom(8)
            answer = self.ask(Frame(Code.CHANNEL, body=tag + pack_address(channel.address)))
            if answer.code is Code.GO:
                # It is there, and has begun.
                self.sock.settimeout(max(self._timeout, _LOAD_S))
                answer = self._link.receive()
                self.sock.settimeout(self._timeout)
            if answer.code is not Code.DONE:
                said = bytes(answer.body).decode("utf-8", "replace")
                raise NoWayError(f"the store process says: {said}")
            channel.connect(checked_address(answer.body), int.from_bytes(tag, "little"))
            self._channel = channel
        return self._channel


class Client:
    """Connections to one store process. Thread safe; a forked child opens its own.

    Args:
        where: The store process, as a user would recognise it.
        connect: Opens a connection.
        route: How UCX goes to the other end of a connection.
        timeout: Seconds to wait for an answer, and for a transfer to move on.
    """

    def __init__(
        self,
        where: str,
        connect: Callable[[], socket.socket],
        route: Callable[[socket.socket], Route],
        timeout: float,
    ) -> None:
        self._where, self._connect, self._route = where, connect, route
        self._timeout = timeout
        self._pages = Pages(_KEPT_NBYTES)
        self._closed = False
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        remake_in_child(self)

    def remade_in_child(self) -> None:
        """As `ForkAware.remade_in_child`."""
        self._lock = threading.Lock()
        for connection in self._all:
            connection.abandon()
        self._idle, self._all = [], set()

    def ask(self, question: Callable[[Connection], Frame], *, repeatable: bool = False) -> Frame:
        """What ``question`` got from a connection that this thread has for itself.

        Args:
            question: Asks, and gives the answer.
            repeatable: Whether asking again does no harm: then it is asked until ``timeout``
                has passed if the connection is lost meanwhile.

        Raises:
            ClosedError: `close` was called.
            ConnectorUnavailableError: There is no way to the store process, or it
                was lost meanwhile, or does not answer in time.
        """
        deadline = time.monotonic() + self._timeout
        while True:
            connection = self._taken() or self._opened()
            try:
                answer = question(connection)
            except (EOFError, OSError, WireError, ChannelError) as exc:
                self._drop(connection)
                if self._closed:
                    raise ClosedError(self._where) from exc
                lost = not isinstance(exc, (TimeoutError, WireError, NoWayError))
                if not (repeatable and lost and time.monotonic() < deadline):
                    found = explained(exc, self._timeout)
                    raise ConnectorUnavailableError(self._where, found, _advice(exc)) from exc
            except BaseException:
                # An interrupt, say: the rest of an answer would be taken for the next one.
                self._drop(connection)
                raise
            else:
                self._give_back(connection)
                return answer
            # A process that is killed accepts connections until it is dead.
            time.sleep(_PAUSE_S)

    def close(self) -> None:
        """Close every connection. Who waits for an answer gets `ClosedError`. Idempotent."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = self._all.difference(idle)
            self._all.clear()
        self._pages.release()
        for connection in idle:
            connection.close()
        for connection in busy:
            # Its thread closes it, for UCX may be in the middle of something.
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _taken(self) -> Connection | None:
        while True:
            with self._lock:
                if self._closed:
                    raise ClosedError(self._where)
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if not connection.is_stale():
                return connection
            self._drop(connection)

    def _opened(self) -> Connection:
        sock = self._connect()
        connection = Connection(sock, self._route(sock), self._timeout, self._pages)
        with self._lock:
            if not self._closed:
                self._all.add(connection)
                return connection
        connection.close()
        raise ClosedError(self._where)

    def _give_back(self, connection: Connection) -> None:
        with self._lock:
            keeps = not self._closed and len(self._idle) < _MAX_IDLE
            if keeps:
                self._idle.append(connection)
        if not keeps:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        with self._lock:
            self._all.discard(connection)
        connection.close()


def _advice(exc: Exception) -> str:
    if isinstance(exc, OtherVersionError):
        return "Install one version of proxystore-connectors-ucx for all processes of a namespace."
    if isinstance(exc, NoWayError):
        return (
            "Give transports= and devices= that both sides have, or none. UCX names those of a "
            "node with UCX_LOG_LEVEL=warn in the environment."
        )
    return "Try again; if its process has ended, its objects are lost."
