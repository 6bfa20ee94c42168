"""Receives for a group of a topic."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel

from proxystore.errors import ClosedError
from proxystore_patterns._options import checked_count
from proxystore_patterns.errors import (
    EndOfStreamError,
    ProducersLostError,
    StreamTimeoutError,
)
from proxystore_patterns.streams._contract import BrokerCapability, Delivery, Message
from proxystore_patterns.streams.brokers._rabbitmq_server import (
    Connection,
    Group,
    Roll,
)
from proxystore_patterns.streams.brokers._topics import checked_topic

__all__ = ["RabbitMQSubscriber"]

_SLICE = 0.2
_DELIVERIES = "x-deliveries"


class RabbitMQSubscriber:
    """A member of a group, which together gets all of a topic, each message by one member.

    What a member that died, or closed, did not acknowledge another one gets at
    once; what was delivered too often goes to the queue `dead_letters`. What is
    delivered again comes after what waits. Members are told of the end when nothing
    waits; what one of them has not acknowledged by then, and dies with, waits
    for the next member, which gets it and the end. Who comes when the producers
    have ended and nothing is left waits for others to begin.

    Args:
        url: ``amqp://user:password@host:port/vhost``.
        topic: What to receive.
        group: Its name, made if it is not there.
        max_deliveries: How often a message is delivered before it is dead.
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
        self._group = Group(checked_topic(topic), group)
        self._max_deliveries = checked_count("max_deliveries", max_deliveries)
        self._arrived: deque[tuple[Message, bool]] = deque()
        self._channels = 0
        self._over = self._closed = False
        # Of the run that was over when this member came: its end is for whoever was given
        # something of it.
        self._known_runs, self._known_lost, self._used = 0, False, False
        self._connection = Connection(url, retry_for, self._prepare)
        # Now, so that the group gets what is sent from here on.
        self._connection.call(self._note)

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
        self._settle(message, None)

    def reject(self, message: Message) -> None:
        dead = message.deliveries >= self._max_deliveries
        self._settle(message, self._group.dead_letters if dead else self._group.queue)

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
        deliveries = 1 + _count((properties.headers or {}).get(_DELIVERIES))
        receipt = (self._channels, method.delivery_tag)
        self._arrived.append((Message(body, None, deliveries, receipt), method.redelivered))

    def _receive(self, seconds: float) -> Message | None:
        if self._closed:
            raise ClosedError(type(self).__name__)
        if not self._arrived:
            self._connection.call(
                lambda channel: channel.connection.process_data_events(time_limit=seconds)
            )
        if not self._arrived:
            return None
        message, redelivered = self._arrived.popleft()
        self._used = True
        if redelivered:
            # Its consumer died: said in the message, or one that kills all of its
            # consumers would come for ever.
            self.reject(message)
            return None
        return message

    def _settle(self, message: Message, send_to: str | None) -> None:
        """Acknowledge ``message``, after it was sent to another queue if one is named."""
        channels, tag = message.receipt
        properties = pika.BasicProperties(
            delivery_mode=2, headers={_DELIVERIES: message.deliveries}
        )

        def settle(channel: BlockingChannel) -> None:
            # Of a connection that broke: the server delivers it again.
            if channels != self._channels:
                return
            if send_to is not None:
                channel.basic_publish("", send_to, message.data, properties)
            channel.basic_ack(tag)

        self._connection.call(settle)

    def _note(self, channel: BlockingChannel) -> None:
        roll = Roll.call(channel, self.topic)
        waiting = self._group.declare(channel)
        channel.connection.process_data_events(time_limit=0)
        self._used = bool(waiting or self._arrived)
        self._known_runs, self._known_lost = roll.runs, roll.is_lost

    def _look(self) -> None:
        """See whether something is left to wait for."""
        roll = self._connection.call(lambda channel: Roll.call(channel, self.topic))
        self._known_lost = self._known_lost and roll.is_lost
        between = roll.runs > 0 and not roll.begun
        ended = roll.runs > self._known_runs or (self._used and between)
        lost = roll.is_lost and (self._used or not self._known_lost)
        if not (ended or lost) or not self._is_drained():
            return
        if not ended:
            raise ProducersLostError(self.topic, f"{roll.dead} of its producers lost connection")
        self._over = True

    def _is_drained(self) -> bool:
        waiting = self._connection.call(self._group.declare)
        # What the server sent before it answered.
        self._connection.call(lambda channel: channel.connection.process_data_events(time_limit=0))
        return not waiting and not self._arrived


def _count(header: object) -> int:
    """What a header says, if it is ours."""
    return header if isinstance(header, int) else 0
