"""Which producers a topic of a Redis server has, whether they live, and when the last one ended."""

from __future__ import annotations

from functools import partial
from operator import methodcaller
from typing import Any, NamedTuple

from proxystore_patterns.lifetimes._renewal import Renewal
from proxystore_patterns.streams._events import EndOfStreamEvent, event_to_bytes
from proxystore_patterns.streams.brokers._server import RedisServer
from proxystore_patterns.streams.brokers._topics import checked_topic

__all__ = ["KEPT_S", "OWN", "Census", "Look"]

KEPT_S = 24 * 3600
"""Seconds that the server keeps what it knows of a topic of which it keeps no messages."""

OWN = "proxystore:"
"""What keys of the census begin with, and no topic may."""

# Keys: producers (a sorted set of ids by when their leases end, in ms; those that are still
# to begin have the lease of the last that ended, under no id), the census (a hash of how many
# of this run began and ended, and how many there will be at least, none of which is there
# between runs; when the newest run ended, and with which entry of a stream) and the topic.
# Arguments: the id of a producer, milliseconds of its lease, the message that says the end,
# and how many producers there will be at least.
_NOW = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000) "
_LOST = """
local census = redis.call('HMGET', KEYS[2], 'begun', 'expected')
local lost = 0
if census[1] and redis.call('ZCOUNT', KEYS[1], now, '+inf') == 0 then
  lost = tonumber(redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2] or now)
end
"""
_FORGET = "redis.call('DEL', KEYS[1]) redis.call('HDEL', KEYS[2], 'begun', 'expected', 'ended')"
_BEGIN = f"""{_NOW} {_LOST}
if lost > 0 then {_FORGET} end
redis.call('PERSIST', KEYS[2])
if not census[1] and redis.call('TYPE', KEYS[3]).ok == 'list' then
  redis.call('LREM', KEYS[3], 0, ARGV[3])
  redis.call('PERSIST', KEYS[3])
end
if redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1]) == 1 then
  redis.call('HINCRBY', KEYS[2], 'begun', 1)
end
local run = redis.call('HMGET', KEYS[2], 'begun', 'expected')
local expected = math.max(tonumber(ARGV[4]), tonumber(run[2] or '0'))
redis.call('HSET', KEYS[2], 'expected', expected)
if tonumber(run[1]) >= expected then redis.call('ZREM', KEYS[1], '') end
return 1
"""
_RENEW = f"{_NOW} return redis.call('ZADD', KEYS[1], 'XX', now + ARGV[2], ARGV[1])"
# With the message at the end, or who is killed between the two ends nothing. Asked again
# because an answer was lost, it finds no run, or one of which it is not.
_END = f"""{_NOW}
local left = redis.call('ZREM', KEYS[1], ARGV[1])
if left == 1 then redis.call('HINCRBY', KEYS[2], 'ended', 1) end
local census = redis.call('HMGET', KEYS[2], 'begun', 'expected', 'ended', 'over')
if not census[1] then return 0 end
local begun, expected = tonumber(census[1]), tonumber(census[2])
if left == 1 and begun < expected then redis.call('ZADD', KEYS[1], now + ARGV[2], '') end
if tonumber(census[3] or '0') < math.max(begun, expected) then return 0 end
{_FORGET}
local over = math.max(now, tonumber(census[4] or '0') + 1)
redis.call('HSET', KEYS[2], 'over', over)
"""
_LOOK = f"""{_NOW} {_LOST}
local known = redis.call('HMGET', KEYS[2], 'over', 'at')
local running = 0
if census[1] and lost == 0 then running = 1 end
local begun, expected = tonumber(census[1] or '0'), tonumber(census[2] or '0')
return {{running, tonumber(known[1] or '0'), lost, known[2] or '', begun, expected}}
"""


class Look(NamedTuple):
    """How a topic stood when somebody looked. Times are milliseconds of the server's clock."""

    running: bool
    """Whether producers have begun, and neither ended nor died."""
    over: int
    """When the newest run that ended did; 0 if none has."""
    lost: int
    """When the last lease of this run ended; 0 if one lives, or is still to begin in time."""
    at: str
    """The entry of a stream that says the end of the newest run that ended."""
    begun: int
    """How many producers of this run began."""
    expected: int
    """How many it was promised at least."""


class Census:
    """Counts the producers of topics on a server. Thread safe.

    Producers show that they live by leases, which are renewed in the background.

    Args:
        server: Where it is kept.
        lease: Seconds.
    """

    def __init__(self, server: RedisServer, lease: float) -> None:
        self._server, self._lease = server, lease
        self._milliseconds = int(lease * 1000)
        self._renewals: dict[tuple[str, str], Renewal] = {}

    def begin(self, topic: str, producer: str, producers: int) -> None:
        """Count a producer, and renew its lease from now on.

        Args:
            topic: Where it sends.
            producer: Its id.
            producers: How many there will be at least.
        """
        checked_topic(topic, OWN)
        self._run(_BEGIN, topic, producer, producers)
        self._renewals[topic, producer] = Renewal(
            self._lease, partial(self._renew, topic, producer), lane=self._server
        )

    def end(self, topic: str, producer: str, tell: str) -> None:
        """Count one that ended, and if it was the last say so.

        Args:
            topic: Where it sent.
            producer: Its id.
            tell: Lua that gives ``ARGV[3]``, the end marker, to the subscribers of the
                topic ``KEYS[3]``; it may use ``over``, when the run ended.
        """
        renewal = self._renewals.pop((topic, producer), None)
        if renewal is not None:
            renewal.end()
        self._run(_END + tell, topic, producer)

    def tell(self, topic: str, tell: str) -> None:
        """Run the Lua ``tell``, as `end` does after the last producer."""
        self._run(tell, topic)

    def look(self, topic: str) -> Look:
        """How ``topic`` stands."""
        running, over, lost, at, begun, expected = self._run(_LOOK, topic)
        return Look(bool(running), over, lost, at.decode(), begun, expected)

    def close(self) -> None:
        """Renew no more leases."""
        while self._renewals:
            self._renewals.popitem()[1].end()

    # Any: what scripts give.
    def _run(self, script: str, topic: str, producer: str = "", producers: int = 1) -> Any:
        keys = (_producers(topic), f"{OWN}census:{topic}", topic)
        marker = event_to_bytes(EndOfStreamEvent(topic))
        given = (*keys, producer, self._milliseconds, marker, producers)
        return self._server.call(lambda client: client.eval(script, len(keys), *given))

    def _renew(self, topic: str, producer: str) -> bool:
        # Who sends notices that the server cannot be reached; this asks again.
        renew = (_RENEW, 1, _producers(topic), producer, self._milliseconds)
        self._server.try_call(methodcaller("eval", *renew))
        return True


def _producers(topic: str) -> str:
    return f"{OWN}producers:{topic}"
