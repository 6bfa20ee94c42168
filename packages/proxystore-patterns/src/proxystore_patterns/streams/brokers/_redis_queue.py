"""Lists of a Redis server."""

from __future__ import annotations

from typing import Any

from proxystore_patterns.streams._contract import Delivery, Message
from proxystore_patterns.streams._events import is_end
from proxystore_patterns.streams.brokers._census import KEPT_S, Look
from proxystore_patterns.streams.brokers._redis_base import BasePublisher, BaseSubscriber

__all__ = ["RedisQueuePublisher", "RedisQueueSubscriber"]

_EXPIRE = f"""
if redis.call('LLEN', KEYS[3]) == 1 then
  redis.call('EXPIRE', KEYS[3], {KEPT_S})
  redis.call('EXPIRE', KEYS[2], {KEPT_S})
end
"""
# To the next subscriber; not into a run that has begun since.
_PASS_ON = f"""
if redis.call('HEXISTS', KEYS[2], 'begun') == 0 then
  redis.call('RPUSH', KEYS[3], ARGV[3]) {_EXPIRE}
end
"""


class RedisQueuePublisher(BasePublisher):
    """Appends the messages of each topic to a list, of which each subscriber takes some."""

    _tell = f"redis.call('RPUSH', KEYS[3], ARGV[3]) {_EXPIRE}"

    def send_message(self, topic: str, message: bytes) -> None:
        self._server.command("RPUSH", topic, message)


class RedisQueueSubscriber(BaseSubscriber):
    """Takes messages off a list; each goes to one subscriber, at most once.

    What was taken by a subscriber that died is lost; see `RedisGroupSubscriber`.
    Who comes when the producers have ended gets what they left and the end, and if
    they left nothing waits for others to begin.
    """

    delivery = Delivery.ONE

    # Any: options of redis-py.
    def __init__(self, hostname: str, port: int, topic: str, **options: Any) -> None:
        super().__init__(hostname, port, topic, **options)
        self._note()

    def _receive(self, seconds: float) -> Message | None:
        found = self._server.command("BLPOP", self._topic, seconds)
        if found is None:
            return None
        data: bytes = found[1]
        if not is_end(data):
            return Message(data)
        self._look()
        if self._over:
            self._census.tell(self._topic, _PASS_ON)
        return None

    def _is_drained(self, look: Look) -> bool:
        first = self._server.command("LINDEX", self._topic, 0)
        return first is None or is_end(first)
