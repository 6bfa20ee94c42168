"""Which producers a topic of a Redis server has, and whether they live."""

from __future__ import annotations

import enum
import threading
from operator import methodcaller
from typing import Any

from proxystore_patterns.streams.brokers._server import RedisServer

__all__ = ["Census", "TopicState"]

# Keys: producers (a sorted set of ids by when their leases end, in ms) and a hash of
# how many began, how many there will be at least, how many ended, whether that is all.
_NOW = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000) "
_BEGIN = f"""{_NOW}
if redis.call('HGET', KEYS[2], 'over') == '1' then
  redis.call('DEL', KEYS[1], KEYS[2])
  if ARGV[4] ~= '' then redis.call('LREM', KEYS[3], 0, ARGV[4]) end
end
redis.call('PERSIST', KEYS[2])
if ARGV[4] ~= '' then redis.call('PERSIST', KEYS[3]) end
if redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1]) == 1 then
  redis.call('HINCRBY', KEYS[2], 'begun', 1)
end
local expected = tonumber(redis.call('HGET', KEYS[2], 'expected') or '0')
if tonumber(ARGV[3]) > expected then redis.call('HSET', KEYS[2], 'expected', ARGV[3]) end
return 1
"""
_RENEW = f"{_NOW} return redis.call('ZADD', KEYS[1], 'XX', now + ARGV[2], ARGV[1])"
_END = """
if redis.call('ZREM', KEYS[1], ARGV[1]) == 1 then redis.call('HINCRBY', KEYS[2], 'ended', 1) end
local census = redis.call('HMGET', KEYS[2], 'begun', 'expected', 'ended')
local ended = tonumber(census[3] or '0')
if ended < tonumber(census[1] or '0') or ended < tonumber(census[2] or '0') then return 0 end
redis.call('HSET', KEYS[2], 'over', 1)
redis.call('EXPIRE', KEYS[2], ARGV[2])
return 1
"""
_STATE = f"""{_NOW}
local census = redis.call('HMGET', KEYS[2], 'begun', 'expected', 'over')
if census[3] == '1' then return 'over' end
if not census[1] then return 'unknown' end
if tonumber(census[1]) < tonumber(census[2]) then return 'open' end
if redis.call('ZCOUNT', KEYS[1], now, '+inf') > 0 then return 'open' end
return 'lost'
"""
_KEPT_S = 24 * 3600


class TopicState(enum.Enum):
    """How a topic stands."""

    UNKNOWN = "unknown"
    """No producer has begun, or the topic ended long ago."""
    OPEN = "open"
    OVER = "over"
    LOST = "lost"
    """The leases of the producers that are left have ended."""


class Census:
    """Counts the producers of topics on a server. Thread safe.

    Producers show that they live by leases, which a thread renews.

    Args:
        server: Where it is kept.
        lease: Seconds.
    """

    def __init__(self, server: RedisServer, lease: float) -> None:
        self._server, self._lease = server, lease
        self._lock = threading.Lock()
        self._mine: set[tuple[str, str]] = set()
        self._closed = threading.Event()
        self._renewing: threading.Thread | None = None

    def begin(self, topic: str, producer: str, producers: int, end: bytes = b"") -> None:
        """Count a producer, and renew its lease from now on.

        Args:
            topic: Where it sends.
            producer: Its id.
            producers: How many there will be at least.
            end: What stands at the end of a topic that is a list and over; it is
                removed when producers begin anew. Empty where topics are no lists.
        """
        milliseconds = int(self._lease * 1000)
        self._run(_BEGIN, topic, producer, milliseconds, producers, end)
        with self._lock:
            self._mine.add((topic, producer))
            if self._renewing is None:
                self._renewing = threading.Thread(target=self._renew, daemon=True)
                self._renewing.start()

    def end(self, topic: str, producer: str) -> bool:
        """Count one that ended; whether it was the last."""
        with self._lock:
            self._mine.discard((topic, producer))
        return bool(self._run(_END, topic, producer, _KEPT_S))

    def state(self, topic: str) -> TopicState:
        """How ``topic`` stands."""
        return TopicState(self._run(_STATE, topic).decode())

    def close(self) -> None:
        """Renew no more leases."""
        self._closed.set()

    # Any: what scripts take and give.
    def _run(self, script: str, topic: str, *arguments: Any) -> Any:
        keys = (f"{topic}:producers", f"{topic}:census", topic)
        return self._server.call(lambda client: client.eval(script, len(keys), *keys, *arguments))

    def _renew(self) -> None:
        while not self._closed.wait(self._lease / 4):
            with self._lock:
                mine = list(self._mine)
            for topic, producer in mine:
                # An unreachable server is noticed by who sends; the next round tries again.
                renew = (_RENEW, 1, f"{topic}:producers", producer, int(self._lease * 1000))
                self._server.try_call(methodcaller("eval", *renew))
