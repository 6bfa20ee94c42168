"""Receives for a group of a topic."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from pika.adapters.blocking_connection import BlockingChannel

from proxystore.errors import ClosedError
from proxystore_patterns.errors import (
    EndOfStreamError,
    ProducersLostError,
    StreamTimeoutError,
)
from proxystore_patterns.streams._contract import BrokerCapability, Delivery, Message
from proxystore_patterns.streams._events import is_end
from proxystore_patterns.streams.brokers._rabbitmq_server import (
    PERSISTENT,
    Connection,
    Group,
    Roll,
)

__all__ = ["RabbitMQSubscriber"]

_SLICE = 0.5


class RabbitMQSubscriber:
    """A member of a group, which together gets all of a topic, each message by one member.

    What a member that died, or closed, did not acknowledge another one gets at
    once; what was delivered too often goes to the queue `dead_letters`. Members
    are told of the end when all was delivered; what one of them has not
    acknowledged by then, and dies with, waits for the next member.

    Args:
        url: ``amqp://user:password@host:port/vhost``.
        topic: What to receive.
        group: Its name, made if it is not there.
        max_deliveries: How often a message is delivered before it is dead; the
            same for all that name the group.
        retry_for: Seconds to try again while the server cannot be reached.
    """

    delivery = Delivery.ONE

    def __init__(
        self,
        url: str,
        topic: str,
        *,
        group: str = "consumers",
        max_deliveries: int = 5,
        retry_for: float = 10.0,
    ) -> None:
        self._group = Group(topic, group, max_deliveries)
        self._arrived: deque[tuple[int, Message]] = deque()
        self._channels = 0
        self._over = self._closed = False
        self._connection = Connection(url, retry_for, self._prepare)
        # Now, so that the group gets what is sent from here on.
        self._connection.call(lambda channel: None)

    @property
    def topic(self) -> str:
        return self._group.topic

    @property
    def dead_letters(self) -> str:
        """The queue of messages that were delivered too often."""
        return self._group.dead_letters

    @property
    def capabilities(self) -> frozenset[BrokerCapability]:
        """Groups, dead letters, and notice of producers whose connections broke."""
        return frozenset(
            {
                BrokerCapability.GROUPS,
                BrokerCapability.DEAD_LETTERS,
                BrokerCapability.NOTICES_LOSS,
            }
        )

    def next_message(self, timeout: float | None = None) -> Message:
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._over:
            left = _SLICE if deadline is None else min(_SLICE, deadline - time.monotonic())
            found = self._receive(max(left, 0.001))
            if found is not None:
                return found
            if not self._over:
                self._look()
            if deadline is not None and time.monotonic() >= deadline and not self._over:
                assert timeout is not None
                raise StreamTimeoutError(self.topic, "message", timeout)
        raise EndOfStreamError(self.topic)

    def acknowledge(self, message: Message) -> None:
        channels, tag = message.receipt

        # Of a connection that broke: the server delivers it again.
        if channels == self._channels:
            self._connection.call(
                lambda channel: channel.basic_ack(tag) if channels == self._channels else None
            )

    def reject(self, message: Message) -> None:
        channels, tag = message.receipt
        if channels == self._channels:
            self._connection.call(
                lambda channel: channel.basic_nack(tag) if channels == self._channels else None
            )

    def close(self) -> None:
        self._closed = True
        self._connection.drop()

    def _prepare(self, channel: BlockingChannel) -> None:
        self._channels += 1
        self._arrived.clear()
        channel.confirm_delivery()
        channel.basic_qos(prefetch_count=1)
        self._group.declare(channel)
        channel.basic_consume(self._group.queue, self._take)

    # Any: what pika gives callbacks.
    def _take(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        deliveries = 1 + int((properties.headers or {}).get("x-delivery-count", 0))
        receipt = (self._channels, method.delivery_tag)
        self._arrived.append((self._channels, Message(body, None, deliveries, receipt)))

    def _receive(self, seconds: float) -> Message | None:
        if self._closed:
            raise ClosedError(type(self).__name__)
        if not self._arrived:
            self._connection.call(
                lambda channel: channel.connection.process_data_events(time_limit=seconds)
            )
        if not self._arrived:
            return None
        _, message = self._arrived.popleft()
        if not is_end(message.data):
            return message
        self._connection.call(lambda channel: self._pass_on(channel, message.data))
        self.acknowledge(message)
        return None

    def _pass_on(self, channel: BlockingChannel, end: bytes) -> None:
        """Leave the end to the next member, unless it is that of an earlier run."""
        if Roll.call(channel, self.topic) == Roll(0, 0):
            channel.basic_publish("", self._group.queue, end, PERSISTENT)
            self._over = True

    def _look(self) -> None:
        roll = self._connection.call(lambda channel: Roll.call(channel, self.topic))
        if roll.dead and not roll.living:
            raise ProducersLostError(self.topic, f"{roll.dead} of its producers lost connection")
