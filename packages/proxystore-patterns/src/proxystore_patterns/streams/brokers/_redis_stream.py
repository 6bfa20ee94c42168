"""Streams of a Redis server, for readers of their own and for groups."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import redis

from proxystore_patterns._options import checked_count, checked_wait
from proxystore_patterns.streams._contract import BrokerCapability, Delivery, Message
from proxystore_patterns.streams._events import is_end
from proxystore_patterns.streams.brokers._census import Look
from proxystore_patterns.streams.brokers._redis_base import BasePublisher, BaseSubscriber

__all__ = ["RedisGroupSubscriber", "RedisStreamPublisher", "RedisStreamSubscriber"]

_FIELD, _OVER = b"e", b"o"
_CLAIM_EVERY = 0.25


class RedisStreamPublisher(BasePublisher):
    """Appends messages to a stream for each topic, which keeps them until it is trimmed.

    Args:
        hostname: Of the server.
        port: Of the server.
        maxlen: Messages to keep, some more; the oldest are dropped, read or not.
            `None` keeps all.
        options: As for the other publishers.
    """

    _tell = """
local at = redis.call('XADD', KEYS[3], '*', 'e', ARGV[3], 'o', over)
redis.call('HSET', KEYS[2], 'at', at)
"""

    # Any: options of redis-py.
    def __init__(
        self, hostname: str, port: int, *, maxlen: int | None = None, **options: Any
    ) -> None:
        super().__init__(hostname, port, **options)
        self._maxlen = None if maxlen is None else checked_count("maxlen", maxlen)

    def send_message(self, topic: str, message: bytes) -> None:
        self._server.call(
            lambda client: client.xadd(topic, {_FIELD: message}, maxlen=self._maxlen)
        )


class RedisStreamSubscriber(BaseSubscriber):
    """Reads all of a stream, whoever else does.

    The stream ends with the newest run of producers, which may be over already: what
    was sent before them is given too, as long as it is kept. With ``"$"`` it ends
    with the next.

    Args:
        hostname: Of the server.
        port: Of the server.
        topic: Its name.
        start: Where to begin: ``"0"`` at its first message, ``"$"`` after its
            last, or at an offset.
        options: As for the other subscribers.
    """

    delivery = Delivery.EACH
    capabilities = BaseSubscriber.capabilities | {BrokerCapability.REPLAY}

    # Any in this module: redis-py types its answers by unions of all.
    def __init__(
        self, hostname: str, port: int, topic: str, *, start: str = "0", **options: Any
    ) -> None:
        super().__init__(hostname, port, topic, **options)
        # Not "$": what comes between two requests would be missed.
        self._after = self._last() if start == "$" else _before(str(start))
        self._note()

    def seek(self, offset: str | int) -> None:
        """As `Replaying.seek`; ``"0"`` is the first message, ``"$"`` the next to come."""
        self._after = self._last() if offset == "$" else _before(str(offset))
        self._note()

    def _receive(self, seconds: float) -> Message | None:
        milliseconds = max(int(seconds * 1000), 1)
        found = self._server.call(
            lambda client: client.xread({self._topic: self._after}, 1, milliseconds)
        )
        entry = _entry(found)
        if entry is None:
            return None
        self._after, fields = entry
        if not is_end(fields[_FIELD]):
            return Message(fields[_FIELD], self._after)
        # That of an earlier run is passed over.
        self._over = int(fields.get(_OVER, 0)) > self._known
        return None

    def _is_drained(self, look: Look) -> bool:
        return _number(self._after) >= _number(self._last())

    def _last(self) -> str:
        return self._server.call(lambda client: _newest(client, self._topic))


class RedisGroupSubscriber(BaseSubscriber):
    """A member of a group, which together gets all of a stream, each message by one member.

    What a member does not acknowledge, because it died or rejected it, another
    one gets, after what was delivered meanwhile; what was delivered too often goes to
    the topic `dead_letters`, an ordinary stream. The stream has ended for the group
    once everything is acknowledged. A member that comes before that gets the end too;
    one that comes after it waits for the next producers to begin.

    Args:
        hostname: Of the server.
        port: Of the server.
        topic: Name of the stream.
        group: Name of the group, made if it is not there.
        consumer: Name of this member, which no other one has; the default is random.
        start: Where a new group begins; as for `RedisStreamSubscriber`.
        redeliver_after: Seconds that a member may take for a message.
        max_deliveries: How often a message is delivered before it is dead.
        options: As for the other subscribers.
    """

    delivery = Delivery.ONE
    capabilities = BaseSubscriber.capabilities | {
        BrokerCapability.REPLAY,
        BrokerCapability.GROUPS,
        BrokerCapability.DEAD_LETTERS,
    }

    def __init__(
        self,
        hostname: str,
        port: int,
        topic: str,
        *,
        group: str,
        consumer: str | None = None,
        start: str = "0",
        redeliver_after: float = 60.0,
        max_deliveries: int = 5,
        **options: Any,
    ) -> None:
        super().__init__(hostname, port, topic, **options)
        self._group, self._name = group, consumer or uuid4().hex
        self._idle_ms = int(checked_wait("redeliver_after", redeliver_after) * 1000)
        self._max_deliveries = checked_count("max_deliveries", max_deliveries)
        self._next_claim = 0.0
        self._server.call(lambda client: self._make_group(client, start))
        self._note()

    @property
    def dead_letters(self) -> str:
        """The topic of messages that were delivered too often."""
        return f"{self._topic}:dead:{self._group}"

    def acknowledge(self, message: Message) -> None:
        self._server.call(lambda client: client.xack(self._topic, self._group, message.receipt))

    def reject(self, message: Message) -> None:
        """Let any member have it, at once."""
        self._server.call(
            lambda client: client.xclaim(
                self._topic,
                self._group,
                self._name,
                min_idle_time=0,
                message_ids=[message.receipt],
                idle=self._idle_ms,
                justid=True,
            )
        )
        self._next_claim = 0.0

    def seek(self, offset: str | int) -> None:
        """Move the whole group; what is pending stays so."""
        place = "$" if offset == "$" else _before(str(offset))
        self._server.call(lambda client: client.xgroup_setid(self._topic, self._group, place))
        self._note()

    def _receive(self, seconds: float) -> Message | None:
        if time.monotonic() >= self._next_claim:
            claimed = self._claim()
            if claimed is not None:
                return claimed
            self._next_claim = time.monotonic() + _CLAIM_EVERY
        milliseconds = max(int(min(seconds, _CLAIM_EVERY) * 1000), 1)
        found = self._server.call(
            lambda client: client.xreadgroup(
                self._group, self._name, {self._topic: ">"}, 1, milliseconds
            )
        )
        entry = _entry(found)
        if entry is None:
            return None
        offset, fields = entry
        return self._message(offset, fields[_FIELD], deliveries=1)

    def _message(self, offset: str, data: bytes, deliveries: int) -> Message | None:
        message = Message(data, offset, deliveries, receipt=offset)
        if is_end(data):
            self.acknowledge(message)
            return None
        return message

    def _claim(self) -> Message | None:
        """A message that its member has had for too long."""
        while True:
            answer = self._server.call(
                lambda client: client.xautoclaim(
                    self._topic, self._group, self._name, self._idle_ms, count=1
                )
            )
            entries = [entry for entry in answer[1] if entry[1]]
            if not entries:
                return None
            offset, data = entries[0][0].decode(), entries[0][1][_FIELD]
            deliveries = self._deliveries(offset)
            if deliveries <= self._max_deliveries:
                return self._message(offset, data, deliveries)
            self._bury(offset, data)

    def _deliveries(self, offset: str) -> int:
        pending: Any = self._server.call(
            lambda client: client.xpending_range(self._topic, self._group, offset, offset, 1)
        )
        return int(pending[0]["times_delivered"]) if pending else 1

    def _bury(self, offset: str, data: bytes) -> None:
        def move(client: Any) -> None:
            with client.pipeline(transaction=True) as both:
                both.xadd(self.dead_letters, {_FIELD: data})
                both.xack(self._topic, self._group, offset)
                both.execute()

        self._server.call(move)

    def _is_drained(self, look: Look) -> bool:
        def ask(client: Any) -> bool:
            groups = client.xinfo_groups(self._topic)
            mine = next(g for g in groups if g["name"] == self._group.encode())
            last = _newest(client, self._topic) if look.lost else look.at or "0"
            after = f"({mine['last-delivered-id'].decode()}"
            unread = client.xrange(self._topic, after, last, count=1)
            # The end itself is nothing that a later member would come for.
            if unread and unread[0][0].decode() != look.at:
                return False
            pending = client.xpending(self._topic, self._group)["min"]
            return pending is None or _number(pending.decode()) > _number(last)

        return self._server.call(ask)

    def _make_group(self, client: Any, start: str) -> None:
        place = "$" if start == "$" else _before(str(start))
        try:
            client.xgroup_create(self._topic, self._group, place, mkstream=True)
        except redis.ResponseError as exc:
            if not str(exc).startswith("BUSYGROUP"):
                raise


def _newest(client: Any, topic: str) -> str:
    """The offset of the last entry of a stream."""
    newest = client.xrevrange(topic, count=1)
    return newest[0][0].decode() if newest else "0-0"


def _entry(found: Any) -> tuple[str, dict[bytes, bytes]] | None:
    """The one entry in the answer of a read, in either form that redis-py gives."""
    if not found:
        return None
    ((_, entries),) = found.items() if isinstance(found, dict) else found
    # Of protocol 3, entries come in one more list.
    while entries and isinstance(entries[0], list) and entries[0] and not isinstance(
        entries[0][0], bytes
    ):
        entries = entries[0]
    if not entries:
        return None
    offset, fields = entries[0]
    return offset.decode(), fields


def _number(offset: str) -> tuple[int, int]:
    milliseconds, _, sequence = offset.partition("-")
    try:
        return int(milliseconds), int(sequence or 0)
    except ValueError as exc:
        raise ValueError(
            f"An offset of a Redis stream is '0', '$' or one that a message had, not {offset!r}."
        ) from exc


def _before(offset: str) -> str:
    """The greatest offset that is less than ``offset``, for reads give what comes after."""
    milliseconds, sequence = _number(offset)
    if sequence:
        return f"{milliseconds}-{sequence - 1}"
    return f"{milliseconds - 1}-{2**64 - 1}" if milliseconds else "0-0"
