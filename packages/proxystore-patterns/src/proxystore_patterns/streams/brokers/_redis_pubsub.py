"""Channels of a Redis server."""

from __future__ import annotations

from typing import Any

from proxystore.abc import Acknowledgement
from proxystore_patterns.streams._contract import Delivery, Message
from proxystore_patterns.streams._events import is_end
from proxystore_patterns.streams.brokers._census import KEPT_S, Look
from proxystore_patterns.streams.brokers._redis_base import BasePublisher, BaseSubscriber

__all__ = ["RedisPublisher", "RedisSubscriber"]


class RedisPublisher(BasePublisher):
    """Publishes to channels: each message goes to every subscriber that listens just then."""

    _tell = f"redis.call('PUBLISH', KEYS[3], ARGV[3]) redis.call('EXPIRE', KEYS[2], {KEPT_S})"

    @property
    def acknowledges(self) -> Acknowledgement:
        """`MEMORY`: a message that nobody listens to is gone."""
        return Acknowledgement.MEMORY

    def send_message(self, topic: str, message: bytes) -> None:
        self._server.command("PUBLISH", topic, message)


class RedisSubscriber(BaseSubscriber):
    """Listens to a channel from when it is made.

    What is published while the connection is broken is lost. Who comes when the
    producers have ended waits for others to begin.
    """

    delivery = Delivery.EACH

    # Any in this class: options of redis-py, which types its answers by unions of all.
    def __init__(self, hostname: str, port: int, topic: str, **options: Any) -> None:
        # Of protocol 3 redis-py formats each message for its log: 30 us of one of 10 KB.
        super().__init__(hostname, port, topic, **{"protocol": 2, **options})
        self._channel: Any = None
        # Before it listens, or an end in between is taken for one of an earlier run.
        self._note()
        self._server.call(self._listen)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.disconnect()
        super().close()

    def _receive(self, seconds: float) -> Message | None:
        found = self._server.call(lambda client: self._hear(client, seconds))
        if found is None or found[0] != b"message":
            return None
        data: bytes = found[2]
        return None if is_end(data) else Message(data)

    def _is_drained(self, look: Look) -> bool:
        return True

    def _hear(self, client: Any, seconds: float) -> Any:
        try:
            if self._channel is None:
                self._listen(client)
            # Not PubSub.get_message(): its checks at each message take 10 us.
            return self._channel.read_response() if self._channel.can_read(seconds) else None
        # Whatever it was, half an answer must not be taken for the next one.
        except BaseException:
            if self._channel is not None:
                self._channel.disconnect()
                self._channel = None
            raise

    def _listen(self, client: Any) -> None:
        channel = client.connection_pool.make_connection()
        channel.send_command("SUBSCRIBE", self._topic)
        # The answer: from here on nothing is missed.
        channel.read_response()
        self._channel = channel
