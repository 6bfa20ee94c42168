"""Publishes to the groups of topics, and counts producers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPConnectionError

from proxystore.abc import Acknowledgement
from proxystore.errors import ClosedError
from proxystore_patterns.streams._events import EndOfStreamEvent, event_to_bytes
from proxystore_patterns.streams.brokers._rabbitmq_server import (
    PERSISTENT,
    Connection,
    Group,
    Roll,
)

__all__ = ["RabbitMQPublisher"]

_REGISTERED_WITHIN = 10.0


class RabbitMQPublisher:
    """Sends the messages of each topic to each of its groups. Thread safe.

    Acknowledged once the server has confirmed that it is on disk. A message may
    arrive twice if the connection breaks; consumers leave out the second.

    Args:
        url: ``amqp://user:password@host:port/vhost``.
        groups: Groups that get messages even if no subscriber of theirs has come
            yet. Others get what is sent from when their first subscriber came.
        retry_for: Seconds to try again while the server cannot be reached.
    """

    def __init__(
        self,
        url: str,
        *,
        groups: Iterable[str] = ("consumers",),
        retry_for: float = 10.0,
    ) -> None:
        self._groups = tuple(groups)
        self._lock = threading.Lock()
        self._expected: dict[str, int] = {}
        self._mine: dict[str, int] = {}
        self._held: dict[str, list[tuple[str, int]]] = {}
        self._closed = False
        self._connection = Connection(url, retry_for, self._prepare)

    @property
    def acknowledges(self) -> Acknowledgement:
        """`DISK`: the server confirms a persistent message once it is."""
        return Acknowledgement.DISK

    def begin(self, topic: str, producer: str, *, producers: int = 1) -> None:
        with self._lock:
            self._check_open()
            self._expected[topic] = max(self._expected.get(topic, 1), producers)
            self._connection.call(lambda channel: self._begin(channel, topic))
            self._mine[topic] = self._mine.get(topic, 0) + 1

    def send_message(self, topic: str, message: bytes) -> None:
        with self._lock:
            self._check_open()
            self._connection.call(
                lambda channel: channel.basic_publish(topic, "", message, PERSISTENT)
            )

    def end(self, topic: str, producer: str) -> None:
        with self._lock:
            self._check_open()
            self._connection.call(lambda channel: self._end(channel, topic))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._connection.drop()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(type(self).__name__)

    def _prepare(self, channel: BlockingChannel) -> None:
        channel.confirm_delivery()
        # Each consumer of a roll holds one message of it.
        channel.basic_qos(prefetch_count=1)
        self._held = {}
        # After a lost connection: what this publisher held is back on the rolls.
        for topic, count in self._mine.items():
            for _ in range(count):
                self._hold(channel, topic)

    def _begin(self, channel: BlockingChannel, topic: str) -> None:
        channel.exchange_declare(topic, "fanout", durable=True)
        for name in self._groups:
            Group(topic, name).declare(channel)
        Roll.call(channel, topic)
        channel.queue_declare(Roll.begun_queue(topic), durable=True)
        for queue in (Roll.queue(topic), Roll.begun_queue(topic)):
            channel.basic_publish("", queue, b"", PERSISTENT)
        self._hold(channel, topic)

    def _hold(self, channel: BlockingChannel, topic: str) -> None:
        """Take a message off the roll, and keep it for as long as a producer lives."""
        got: list[int] = []

        # Any: what pika gives callbacks.
        def take(_channel: Any, method: Any, _properties: Any, _body: bytes) -> None:
            got.append(method.delivery_tag)

        tag = channel.basic_consume(Roll.queue(topic), take)
        deadline = time.monotonic() + _REGISTERED_WITHIN
        while not got:
            channel.connection.process_data_events(time_limit=0.1)
            if time.monotonic() > deadline:
                raise AMQPConnectionError("the server gave no answer to a producer that began")
        self._held.setdefault(topic, []).append((tag, got[0]))

    def _end(self, channel: BlockingChannel, topic: str) -> None:
        held = self._held.get(topic)
        if held:
            tag, delivery = held.pop()
            self._mine[topic] -= 1
            channel.basic_ack(delivery)
            channel.basic_cancel(tag)
        begun = channel.queue_declare(Roll.begun_queue(topic), durable=True).method.message_count
        roll = Roll.call(channel, topic)
        if roll == Roll(0, 0) and begun >= self._expected[topic]:
            end = event_to_bytes(EndOfStreamEvent(topic))
            channel.basic_publish(topic, "", end, PERSISTENT)
