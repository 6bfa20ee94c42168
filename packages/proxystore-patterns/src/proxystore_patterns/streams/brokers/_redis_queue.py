"""Lists of a Redis server."""

from __future__ import annotations

from proxystore_patterns.streams._contract import Delivery, Message
from proxystore_patterns.streams._events import is_end
from proxystore_patterns.streams.brokers._redis_base import (
    BasePublisher,
    BaseSubscriber,
    end_marker,
)

__all__ = ["RedisQueuePublisher", "RedisQueueSubscriber"]


class RedisQueuePublisher(BasePublisher):
    """Appends the messages of each topic to a list, of which each subscriber takes some."""

    def begin(self, topic: str, producer: str, *, producers: int = 1) -> None:
        self._census.begin(topic, producer, producers, end_marker(topic))

    def send_message(self, topic: str, message: bytes) -> None:
        self._server.command("RPUSH", topic, message)


class RedisQueueSubscriber(BaseSubscriber):
    """Takes messages off a list; each goes to one subscriber, at most once.

    What was taken by a subscriber that died is lost; see `RedisGroupSubscriber`.
    """

    delivery = Delivery.ONE

    def _receive(self, seconds: float) -> Message | None:
        found = self._server.command("BLPOP", self._topic, seconds)
        if found is None:
            return None
        data: bytes = found[1]
        if not is_end(data):
            return Message(data)
        if self._is_over():
            self._over = True
            # For the next subscriber.
            self._server.command("RPUSH", self._topic, data)
            self._server.command("EXPIRE", self._topic, _KEPT_S)
        return None

    def _is_drained(self) -> bool:
        return not self._server.command("LLEN", self._topic)


_KEPT_S = 24 * 3600
