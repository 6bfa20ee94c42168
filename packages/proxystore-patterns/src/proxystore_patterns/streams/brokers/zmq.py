"""ZeroMQ as a broker: publishers listen, subscribers connect, nothing stands between.

Needs the extra: ``pip install 'proxystore-patterns[zmq]'``. What is sent is not encrypted, and
whoever reaches the port can subscribe: stay on the loopback or a network of your own.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from proxystore.abc import Acknowledgement
from proxystore.errors import ClosedError
from proxystore_patterns._extras import importing
from proxystore_patterns._options import checked_count, checked_wait
from proxystore_patterns.errors import (
    BrokerUnavailableError,
    EndOfStreamError,
    ProducersLostError,
    StreamTimeoutError,
)
from proxystore_patterns.streams._contract import BrokerCapability, Delivery, Message
from proxystore_patterns.streams._events import (
    EndOfStreamEvent,
    bytes_to_event,
    event_to_bytes,
    is_end,
)
from proxystore_patterns.streams.brokers._topics import checked_topic

with importing("zmq"):
    import zmq
    from zmq.utils.monitor import recv_monitor_message

__all__ = ["ZeroMQPublisher", "ZeroMQSubscriber"]

_TIMEOUT = 60.0
_LOST_AFTER = 5.0
_GONE = zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED
_HERE = zmq.EVENT_CONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED


def _prefix(topic: str) -> bytes:
    # With its length, for a subscription to "t" would match "t1" too.
    name = topic.encode()
    return len(name).to_bytes(4, "big") + name


def _endpoint(address: str, port: int) -> str:
    # The library takes the rest of a division for one.
    if not 0 < port < 2**16:
        raise ValueError(f"port is a number from 1 to 65535, not {port!r}.")
    return f"tcp://{address}:{port}"


class ZeroMQPublisher:
    """Sends the messages of each topic to all subscribers that are connected.

    Waits for its subscribers before the first message of a topic, and while one of
    them has no room for more, so those that are there miss nothing. Thread safe;
    several producers of one process share it.

    Args:
        address: To listen on, an address of this host.
        port: To listen on.
        subscribers: How many subscribers each topic has, to wait for; with 0,
            what nobody listens to is gone.
        timeout: Most seconds to wait for subscribers, or for room.
        room: Messages that wait for a slow subscriber before `send_message` does.

    Raises:
        BrokerUnavailableError: The port is taken, or the address is not of this host.
    """

    def __init__(
        self,
        address: str,
        port: int,
        *,
        subscribers: int = 1,
        timeout: float = _TIMEOUT,
        room: int = 1000,
    ) -> None:
        endpoint = _endpoint(address, port)
        self._id = uuid4().hex
        self._timeout = checked_wait("timeout", timeout)
        self._wanted = checked_count("subscribers", subscribers, least=0)
        self._lock = threading.Lock()
        self._counts: dict[str, list[int]] = {}
        self._heard: defaultdict[bytes, int] = defaultdict(int)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        self._socket.setsockopt(zmq.XPUB_NODROP, 1)
        self._socket.setsockopt(zmq.SNDHWM, room)
        self._socket.setsockopt(zmq.SNDTIMEO, int(timeout * 1000))
        self._socket.setsockopt(zmq.LINGER, int(timeout * 1000))
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as exc:
            self._context.destroy(linger=0)
            raise BrokerUnavailableError(
                f"port {port} of {address}", str(exc), "Give a free port of this host."
            ) from exc

    @property
    def acknowledges(self) -> Acknowledgement:
        """`MEMORY`: a message waits in the memory of this process, and then of the other."""
        return Acknowledgement.MEMORY

    def begin(self, topic: str, producer: str, *, producers: int = 1) -> None:
        with self._lock:
            # Of this run: begun, ended, expected.
            count = self._counts.setdefault(checked_topic(topic), [0, 0, 1])
            count[0] += 1
            count[2] = max(count[2], producers)

    def send_message(self, topic: str, message: bytes) -> None:
        """As `Publisher.send_message`.

        Raises:
            StreamTimeoutError: Subscribers did not come, or made no room, in time.
        """
        with self._lock:
            self._send(topic, message)

    def end(self, topic: str, producer: str) -> None:
        with self._lock:
            count = self._counts.get(topic)
            if count is None:
                return
            count[1] += 1
            if count[1] >= max(count[0], count[2]):
                # Those who begin after this begin another run.
                del self._counts[topic]
                self._send(topic, event_to_bytes(EndOfStreamEvent(topic, self._id)))

    def close(self) -> None:
        """Close the port once subscribers have what was sent, or the timeout has passed."""
        with self._lock:
            if not self._context.closed:
                self._socket.close()
                self._context.term()

    def _send(self, topic: str, message: bytes) -> None:
        if self._context.closed:
            raise ClosedError(type(self).__name__)
        prefix = _prefix(topic)
        deadline = time.monotonic() + self._timeout
        self._hear(0)
        while self._heard[prefix] < self._wanted:
            left = deadline - time.monotonic()
            if left <= 0:
                raise StreamTimeoutError(topic, f"{self._wanted} subscribers", self._timeout)
            self._hear(left)
        try:
            self._socket.send_multipart([prefix, message])
        except zmq.Again as exc:
            raise StreamTimeoutError(topic, "room at a subscriber", self._timeout) from exc

    def _hear(self, seconds: float) -> None:
        """Note who subscribed and who went."""
        while self._socket.poll(int(seconds * 1000)):
            said = self._socket.recv()
            self._heard[said[1:]] += 1 if said[:1] == b"\1" else -1
            seconds = 0


class ZeroMQSubscriber:
    """Connects to one or more publishers and gets all they send to a topic.

    The stream has ended once it has for each of the publishers. Who comes after that
    waits for others to begin.

    Args:
        address: Of a publisher.
        port: Of that publisher.
        topic: What to receive.
        others: Addresses and ports of the other publishers of the topic.
        lost_after: Seconds that a publisher may be gone before it counts as lost.
    """

    delivery = Delivery.EACH

    def __init__(
        self,
        address: str,
        port: int,
        *,
        topic: str,
        others: Iterable[tuple[str, int]] = (),
        lost_after: float = _LOST_AFTER,
    ) -> None:
        self._topic = checked_topic(topic)
        self._lost_after = checked_wait("lost_after", lost_after)
        endpoints = [_endpoint(*place) for place in ((address, port), *others)]
        self._missing, self._ended = len(endpoints), set[str]()
        self._gone: dict[str, float] = {}
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        # What its publisher cannot keep must have room here.
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SUBSCRIBE, _prefix(topic))
        # Not to all events: retries would be many.
        self._monitor: Any = self._socket.get_monitor_socket(_GONE | _HERE)
        for endpoint in endpoints:
            self._connect(endpoint)

    @property
    def topic(self) -> str:
        return self._topic

    @property
    def capabilities(self) -> frozenset[BrokerCapability]:
        """A publisher that was there and is not any more is noticed."""
        return frozenset({BrokerCapability.NOTICES_LOSS})

    def next_message(self, timeout: float | None = None) -> Message:
        if self._context.closed:
            raise ClosedError(type(self).__name__)
        deadline = None if timeout is None else time.monotonic() + timeout
        while len(self._ended) < self._missing:
            left = 1.0 if deadline is None else min(1.0, deadline - time.monotonic())
            if self._socket.poll(max(int(left * 1000), 1)):
                data = self._socket.recv_multipart()[1]
                if not is_end(data):
                    return Message(data)
                event = bytes_to_event(data)
                assert isinstance(event, EndOfStreamEvent)
                self._ended.add(event.producer)
                continue
            self._look()
            if deadline is not None and time.monotonic() >= deadline:
                assert timeout is not None
                raise StreamTimeoutError(self._topic, "message", timeout)
        raise EndOfStreamError(self._topic)

    def close(self) -> None:
        if not self._context.closed:
            with contextlib.suppress(zmq.ZMQError):
                self._socket.disable_monitor()
            self._context.destroy(linger=0)

    def _connect(self, endpoint: str) -> None:
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as exc:
            self.close()
            advice = "Give the address and port of a publisher."
            raise BrokerUnavailableError(endpoint, str(exc), advice) from exc

    def _look(self) -> None:
        """Raise if a publisher has been gone for too long."""
        now = time.monotonic()
        while self._monitor.poll(0):
            said = recv_monitor_message(self._monitor)
            place = said["endpoint"].decode()
            if said["event"] & _HERE:
                self._gone.pop(place, None)
            elif said["event"] == zmq.EVENT_DISCONNECTED:
                self._gone[place] = now
        lost = [at for at, since in self._gone.items() if now - since >= self._lost_after]
        if len(lost) > len(self._ended):
            found = f"the connection to {', '.join(sorted(lost))} broke and was not made again"
            raise ProducersLostError(self._topic, found)
