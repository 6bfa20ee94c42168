"""A connection to RabbitMQ that is made again for a while, and the names of what is there."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import pika
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import AMQPError, ChannelClosedByBroker

from proxystore_patterns._options import checked_wait
from proxystore_patterns.errors import BrokerUnavailableError

__all__ = ["PERSISTENT", "Connection", "Group", "Roll"]

R = TypeVar("R")

PERSISTENT = pika.BasicProperties(delivery_mode=2)
_FIRST_WAIT, _LONGEST_WAIT = 0.02, 1.0
# No heartbeats: nothing would answer them while a program computes. The end of a
# process closes its socket; that of a host is noticed by these.
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


class Connection:
    """A connection with one channel. Not thread safe.

    Args:
        url: ``amqp://user:password@host:port/vhost``.
        retry_for: Seconds to try again while the server cannot be reached.
        prepare: Called with each new channel.
    """

    def __init__(
        self, url: str, retry_for: float, prepare: Callable[[BlockingChannel], None]
    ) -> None:
        self._parameters = _parameters(url)
        self._parameters.heartbeat = 0
        self._parameters.tcp_options = _KEEPALIVE
        self.where = f"rabbitmq at {self._parameters.host}:{self._parameters.port}"
        self._retry_for, self._prepare = checked_wait("retry_for", retry_for), prepare
        self._connection: BlockingConnection | None = None
        self._channel: BlockingChannel | None = None

    def call(self, request: Callable[[BlockingChannel], R]) -> R:
        """What ``request`` gives; it may be made twice if an answer is lost.

        Raises:
            BrokerUnavailableError: The server cannot be reached, or refused.
        """
        deadline = time.monotonic() + self._retry_for
        wait = _FIRST_WAIT
        while True:
            try:
                return request(self._open())
            except ChannelClosedByBroker as exc:
                self.drop()
                advice = "Use names of topics and groups that nothing else uses."
                raise self._failure(exc, advice) from exc
            except (AMQPError, OSError) as exc:
                self.drop()
                if time.monotonic() + wait > deadline:
                    advice = "See that it runs and can be reached from here; then go on."
                    raise self._failure(exc, advice) from exc
            # Jitter, or all clients come back at the same moment.
            time.sleep(wait * random.uniform(0.5, 1))  # noqa: S311 - no secret
            wait = min(wait * 2, _LONGEST_WAIT)

    def drop(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(AMQPError, OSError):
                connection.close()

    def _open(self) -> BlockingChannel:
        if self._channel is None or not self._channel.is_open:
            self.drop()
            self._connection = BlockingConnection(self._parameters)
            channel = self._connection.channel()
            self._prepare(channel)
            self._channel = channel
        return self._channel

    def _failure(self, exc: Exception, advice: str) -> BrokerUnavailableError:
        # What pika says of no connection holds the reason, if any, in another error.
        reasons = [each for each in exc.args if isinstance(each, Exception)]
        said = str(exc) or "; ".join(repr(getattr(each, "exception", each)) for each in reasons)
        found = f"{type(exc).__name__}: {said[:200]}" if said else type(exc).__name__
        return BrokerUnavailableError(self.where, found.removesuffix("."), advice)


def _parameters(url: str) -> pika.URLParameters:
    if not url.startswith(("amqp://", "amqps://")):
        # Not the url, for it may have a password.
        raise ValueError(
            "A RabbitMQ server is named by a url like amqp://user:password@host:5672/vhost; "
            "this one does not begin with amqp:// or amqps://."
        )
    return pika.URLParameters(url)


class Group(NamedTuple):
    """A group of a topic: a queue, and one for its dead letters.

    Classic queues, for which members count deliveries themselves: a quorum queue
    counts, but one of a single node finds no leader after kill -9 (seen with
    3.10.8, https://github.com/rabbitmq/rabbitmq-server/issues/10070).
    """

    topic: str
    name: str

    @property
    def queue(self) -> str:
        return f"{_part(self.topic)}.group.{_part(self.name)}"

    @property
    def dead_letters(self) -> str:
        return f"{_part(self.topic)}.dead.{_part(self.name)}"

    def declare(self, channel: BlockingChannel) -> int:
        """Make what is not there; how many messages wait."""
        channel.exchange_declare(self.topic, "fanout", durable=True)
        channel.queue_declare(self.dead_letters, durable=True)
        found: int = channel.queue_declare(self.queue, durable=True).method.message_count
        channel.queue_bind(self.queue, self.topic)
        return found


class Roll(NamedTuple):
    """The producers of a topic, as queues.

    One has a message for each producer of this run. A producer takes one and keeps
    it unacknowledged: when it ends it acknowledges it, and when it dies the server
    puts it back. So what waits in the queue are producers that died, and its
    consumers are those that live.
    """

    dead: int
    living: int
    begun: int
    """Producers that this run ever had; 0 between runs."""
    runs: int
    """How many times the last producer has ended."""

    @property
    def is_lost(self) -> bool:
        """Whether the producers that are left died."""
        return self.dead > 0 and not self.living

    @classmethod
    def call(cls, channel: BlockingChannel, topic: str) -> Roll:
        """Count them."""
        found = channel.queue_declare(cls.queue(topic), durable=True).method
        counts = (_count(channel, queue(topic)) for queue in (_begun, _ended))
        return cls(found.message_count, found.consumer_count, *counts)

    @classmethod
    def enter(cls, channel: BlockingChannel, topic: str, take: Callable[..., object]) -> str:
        """Add a producer, which lives while it keeps what ``take`` is given; its consumer tag."""
        if cls.call(channel, topic).is_lost:
            # Of a run that died. Nothing is lost of one that begins just now: who adds a
            # message consumes before.
            channel.queue_purge(cls.queue(topic))
            channel.queue_purge(_begun(topic))
        tag: str = channel.basic_consume(cls.queue(topic), take)
        for queue in (cls.queue(topic), _begun(topic)):
            channel.basic_publish("", queue, b"", PERSISTENT)
        return tag

    @staticmethod
    def finish(channel: BlockingChannel, topic: str) -> None:
        """Say that the last producer of this run has ended."""
        channel.basic_publish("", _ended(topic), b"", PERSISTENT)
        channel.queue_purge(_begun(topic))

    @staticmethod
    def queue(topic: str) -> str:
        """Its name."""
        return f"{_part(topic)}.producers"


def _count(channel: BlockingChannel, queue: str) -> int:
    """How many messages wait in a queue, which is made if it is not there."""
    found: int = channel.queue_declare(queue, durable=True).method.message_count
    return found


def _begun(topic: str) -> str:
    return f"{_part(topic)}.begun"


def _ended(topic: str) -> str:
    return f"{_part(topic)}.ended"


def _part(name: str) -> str:
    """``name`` as a part of a name whose parts end with full stops."""
    return name.replace("%", "%25").replace(".", "%2E")
