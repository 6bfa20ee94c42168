"""Publishes to the groups of topics, and counts producers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPConnectionError

from proxystore.abc import Acknowledgement
from proxystore.errors import ClosedError
from proxystore_patterns.streams.brokers._rabbitmq_server import (
    PERSISTENT,
    Connection,
    Group,
    Roll,
)
from proxystore_patterns.streams.brokers._topics import checked_topic

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
            checked_topic(topic)
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
                consume = partial(channel.basic_consume, Roll.queue(topic))
                # Another run may have begun since, or the server not have noticed.
                if not self._hold(channel, topic, consume):
                    self._enter(channel, topic)

    def _begin(self, channel: BlockingChannel, topic: str) -> None:
        channel.exchange_declare(topic, "fanout", durable=True)
        for name in self._groups:
            Group(topic, name).declare(channel)
        self._enter(channel, topic)

    def _enter(self, channel: BlockingChannel, topic: str) -> None:
        if not self._hold(channel, topic, partial(Roll.enter, channel, topic)):
            raise AMQPConnectionError("the server gave no answer to a producer that began")

    def _hold(
        self, channel: BlockingChannel, topic: str, consume: Callable[[Callable[..., None]], str]
    ) -> bool:
        """Take a message off the roll, and keep it for as long as a producer lives."""
        got: list[int] = []

        # Any: what pika gives callbacks.
        def take(_channel: Any, method: Any, _properties: Any, _body: bytes) -> None:
            got.append(method.delivery_tag)

        tag = consume(take)
        deadline = time.monotonic() + _REGISTERED_WITHIN
        while not got:
            channel.connection.process_data_events(time_limit=0.1)
            if time.monotonic() > deadline and not got:
                channel.basic_cancel(tag)
                return False
        self._held.setdefault(topic, []).append((tag, got[0]))
        return True

    def _end(self, channel: BlockingChannel, topic: str) -> None:
        # Before it leaves, if it is the last: who is killed in between has ended the run.
        before = Roll.call(channel, topic)
        alone = (before.dead, before.living) == (0, 1)
        if alone:
            self._finish(channel, topic, before)
        held = self._held.get(topic)
        if held:
            tag, delivery = held.pop()
            self._mine[topic] -= 1
            channel.basic_ack(delivery)
            channel.basic_cancel(tag)
        after = Roll.call(channel, topic)
        if not alone and (after.dead, after.living) == (0, 0):
            self._finish(channel, topic, after)

    def _finish(self, channel: BlockingChannel, topic: str, roll: Roll) -> None:
        """End the run, unless producers are still to come, or another has ended it."""
        if roll.begun >= self._expected[topic]:
            Roll.finish(channel, topic)
