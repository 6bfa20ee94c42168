"""One connection to a store process."""

from __future__ import annotations

import itertools
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import zmq

from proxystore.errors import ConnectorUnavailableError
from proxystore.payload import BytesLike
from proxystore_connectors_zmq._curve import Keys
from proxystore_connectors_zmq._wire import PROTOCOL, GarbageError, Reply, Request

__all__ = ["Channel", "Endpoint", "LostError", "check", "connect", "disconnect"]

_SLICE_MS = 50
_LOOK_SECONDS = 1.0
_QUEUED_MESSAGES = 4
_HEARTBEAT_MS = 5000
# What zmq would otherwise leave to itself: it connects again, and waits for ever.
_LOSSES = zmq.Event.CLOSED | zmq.Event.DISCONNECTED
_REFUSALS = (
    zmq.Event.HANDSHAKE_FAILED_AUTH
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
)
# By hand, from zmq_socket_monitor(3): zmq.utils.monitor imports asyncio, a third of all imports.
_EVENT = struct.Struct("=H")
_numbers = itertools.count()


def _never() -> bool:
    return False


class Endpoint(NamedTuple):
    """Where a store process can be reached."""

    url: str
    where: str
    """As a user would recognise it."""
    name: str = ""
    """The instance or namespace that must answer, where another process may by now."""
    keys: Keys | None = None
    """For connections between nodes."""
    is_served: Callable[[], bool] = _never
    """Whether the process is known to live, so that who does not get in can come again."""
    is_owned: Callable[[], bool] = _never
    """Whether the owner lives, as far as is known, so that another process takes its place."""


class LostError(ConnectionError):
    """The connection ended; what was asked may or may not have been done.

    Args:
        refused: It ended before the two sides had agreed to talk.
        begun: There was one; otherwise nothing was done.
    """

    def __init__(self, *, refused: bool = False, begun: bool = True) -> None:
        super().__init__(refused, begun)
        self.refused, self.begun = refused, begun


def connect(
    context: zmq.Context[zmq.Socket[bytes]], endpoint: Endpoint
) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
    """A socket that connects to ``endpoint`` once, and one that tells when that failed."""
    socket = context.socket(zmq.DEALER)
    socket.linger = 0
    socket.rcvhwm = _QUEUED_MESSAGES
    socket.rcvtimeo = socket.sndtimeo = _SLICE_MS
    socket.reconnect_ivl = -1
    socket.ipv6 = "[" in endpoint.url
    if endpoint.keys is not None:
        endpoint.keys.join(socket)
        socket.heartbeat_ivl = _HEARTBEAT_MS
        socket.heartbeat_timeout = 3 * _HEARTBEAT_MS
    monitor = socket.get_monitor_socket(
        _LOSSES | _REFUSALS, f"inproc://connection-{next(_numbers)}"
    )
    socket.connect(endpoint.url)
    return socket, monitor


def disconnect(socket: zmq.Socket[bytes], monitor: zmq.Socket[bytes]) -> None:
    """Close what `connect` gave. Idempotent."""
    # First of all: an event for a monitor that is closed blocks all of libzmq, for ever.
    # Where that is not possible, the context ends or the socket is closed.
    with suppress(zmq.ZMQError):
        socket.disable_monitor()
    socket.close()
    monitor.close()


def check(monitor: zmq.Socket[bytes]) -> None:
    """Return unless ``monitor`` has told of the end of a connection.

    Raises:
        LostError: It has.
    """
    refused = False
    while int(monitor.get(zmq.EVENTS)) & zmq.POLLIN:
        event = _EVENT.unpack_from(monitor.recv_multipart()[0])[0]
        if event & _LOSSES:
            raise LostError(refused=refused, begun=event != zmq.Event.CLOSED)
        # Its end is told next.
        refused = True


class Channel:
    """A connection that one thread uses at a time, and that is not used again once it failed.

    Args:
        context: Of this process.
        endpoint: The other side.
        timeout: Seconds without a sign of it after which a call fails.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], endpoint: Endpoint, timeout: float
    ) -> None:
        self._endpoint, self._timeout = endpoint, timeout
        self._socket, self._monitor = connect(context, endpoint)
        self._counter = itertools.count(1)
        self._has_more = False
        self._used = 0.0

    def is_lost(self) -> bool:
        """Whether the other side is known to be gone. Looks once a second: that takes 8 us."""
        now = time.monotonic()
        if now - self._used < _LOOK_SECONDS:
            return False
        self._used = now
        try:
            check(self._monitor)
        except LostError:
            return True
        return False

    def number(self) -> int:
        """For the next request."""
        return next(self._counter) & 0xFFFFFFFF

    def send(self, request: Request, pieces: Sequence[BytesLike] = ()) -> None:
        """Send a message of copies.

        Raises:
            LostError: The connection ended.
            ConnectorUnavailableError: The other side takes nothing.
        """
        frames = [request.encode(), *pieces]
        for frame in frames[:-1]:
            self._send_frame(frame, zmq.SNDMORE)
        self._send_frame(frames[-1], 0)

    def send_shared(self, request: Request, piece: BytesLike) -> zmq.MessageTracker:
        """As `send`, without a copy of ``piece``; the tracker tells when it is free again."""
        self._send_frame(request.encode(), zmq.SNDMORE)
        tracker = self._send_frame(piece, 0, copy=False)
        assert tracker is not None
        return tracker

    def receive(self, number: int) -> Reply:
        """The next reply to request ``number``; those to earlier ones are passed over.

        Raises:
            LostError: The connection ended.
            ConnectorUnavailableError: There was none in time, or one of another version.
        """
        while True:
            frame = self._receive_frame()
            try:
                reply = Reply.parse(frame.buffer)
            except GarbageError as garbage:
                raise self._misunderstood(garbage) from garbage
            self._has_more = frame.more
            if reply.number == number:
                return reply
            self.read(bytearray())

    def read(self, into: bytearray) -> None:
        """Append the rest of the message of the last reply."""
        while self._has_more:
            frame = self._receive_frame()
            into += frame.buffer
            self._has_more = frame.more

    def close(self) -> None:
        """Let go of the connection. Idempotent."""
        disconnect(self._socket, self._monitor)

    def _send_frame(
        self, frame: BytesLike, flags: int, *, copy: bool = True
    ) -> zmq.MessageTracker | None:
        waited_ms = 0
        while True:
            try:
                return self._socket.send(frame, flags, copy=copy, track=not copy)
            except zmq.Again:
                waited_ms = self._look(waited_ms)

    def _receive_frame(self) -> zmq.Frame:
        waited_ms = 0
        while True:
            try:
                return self._socket.recv(copy=False)
            except zmq.Again:
                waited_ms = self._look(waited_ms)

    def _look(self, waited_ms: int) -> int:
        check(self._monitor)
        waited_ms += _SLICE_MS
        if waited_ms >= self._timeout * 1000:
            raise ConnectorUnavailableError(
                self._endpoint.where,
                f"there was no answer for {self._timeout:g} s",
                "See whether its node is overloaded, or give the connector a longer timeout.",
            )
        return waited_ms

    def _misunderstood(self, garbage: GarbageError) -> ConnectorUnavailableError:
        found = "its answer makes no sense"
        if garbage.version not in {None, PROTOCOL}:
            found = f"it speaks version {garbage.version} of the protocol, this process {PROTOCOL}"
        return ConnectorUnavailableError(
            self._endpoint.where,
            found,
            "Install one version of proxystore-connectors-zmq for all processes of a namespace.",
        )
