"""A store process as its clients see it: some connections, and what can be asked over them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeVar

import zmq

from proxystore.errors import ConnectorUnavailableError, MediumFullError, MediumGoneError
from proxystore.payload import Payload, as_bytes, payload_nbytes
from proxystore_connectors_zmq._channel import Channel, Endpoint, LostError
from proxystore_connectors_zmq._waits import Waits
from proxystore_connectors_zmq._wire import (
    CHUNK_NBYTES,
    INLINE_NBYTES,
    Op,
    Reply,
    Request,
    Status,
    is_where,
    pieces_of,
)

__all__ = ["END", "Client", "Found"]

T = TypeVar("T")

_MAX_IDLE = 32
_AHEAD = 4
"""How many requests of a batch, or chunks of an object, are on their way at once."""
_LOSS_SECONDS = 1.0
"""A wait goes on over a new connection, unless that one is lost as soon as this."""
_LET_GO_SECONDS = 10.0
_CROWD_SECONDS = 0.01
END = (1 << 64) - 1
"""Past the end of any object."""


class Found(NamedTuple):
    """An object, or part of it, if there is one."""

    data: bytearray | None
    """The caller's own."""
    generation: int | None


class Client:
    """The store process at an endpoint. Thread safe: each call has a connection to itself.

    Every method raises `MediumGoneError` where the process has ended, and otherwise
    `ConnectorUnavailableError` where it cannot be reached, does not answer or refuses.
    What can be repeated is, once, on a new connection.

    Args:
        context: Of this process.
        endpoint: Where it is.
        timeout: Seconds without a sign of it after which a call fails.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], endpoint: Endpoint, timeout: float
    ) -> None:
        self._context, self._endpoint, self._timeout = context, endpoint, timeout
        self._idle: list[Channel] = []
        self._waits = Waits(context, endpoint)
        self._lock = threading.Lock()
        self._closed = False

    def put(self, object_id: str, payload: Payload, ttl: float | None) -> None:
        """Make an object under a fresh identifier.

        Raises:
            MediumFullError: There is no room.
        """
        # Taken: by the first attempt, whose answer was lost, for the identifier is fresh.
        self._store(Op.PUT, object_id, payload, ttl, again=True)

    def put_batch(self, objects: Sequence[tuple[str, Payload]], ttl: float | None) -> None:
        """Make objects under fresh identifiers.

        Raises:
            MediumFullError: There is no room for one; those before it are there.
        """

        def work(channel: Channel) -> None:
            sent: deque[tuple[int, Payload]] = deque()
            for object_id, payload in objects:
                if len(sent) == _AHEAD or payload_nbytes(payload) > CHUNK_NBYTES:
                    self._settle(channel, sent)
                if payload_nbytes(payload) > CHUNK_NBYTES:
                    reply = _upload(channel, Op.BEGIN_PUT, object_id, payload, ttl)
                    self._check_stored(reply, payload)
                else:
                    sent.append((_send_whole(channel, Op.PUT, object_id, payload, ttl), payload))
            self._settle(channel, sent)

        self._over_channel(work, again=True)

    def set(self, object_id: str, payload: Payload, ttl: float | None) -> bool:
        """Make an object; `False` if there is one already.

        Raises:
            MediumFullError: There is no room.
        """
        # Not repeated: the first attempt may have been the one that made the object.
        return self._store(Op.PUT, object_id, payload, ttl).status is not Status.TAKEN

    def replace(self, object_id: str, payload: Payload) -> bool:
        """Replace an object; `False` if there is none.

        Raises:
            MediumFullError: There is no room.
        """
        return self._store(Op.REPLACE, object_id, payload, None).status is not Status.ABSENT

    def get(
        self, object_ids: Sequence[str], offset: int = 0, nbytes: int = END
    ) -> list[Found]:
        """Objects, or those bytes of them."""

        def work(channel: Channel) -> list[Found]:
            found: list[Found] = []
            asked: deque[int] = deque()
            for object_id in object_ids:
                if len(asked) == _AHEAD:
                    found.append(self._fetch(channel, asked.popleft()))
                asked.append(channel.number())
                channel.send(Request(Op.GET, asked[-1], object_id, offset, nbytes))
            found += [self._fetch(channel, number) for number in asked]
            return found

        return self._over_channel(work, again=True)

    def generation(self, object_id: str) -> int | None:
        """The generation of an object, if there is one."""
        reply = self._ask(Op.FIND, object_id)
        return None if reply.status is Status.ABSENT else reply.b

    def evict(self, object_id: str) -> None:
        """Remove an object, if there is one."""
        self._ask(Op.EVICT, object_id)

    def touch(self, object_id: str, ttl: float | None) -> bool:
        """Lease an object anew; `False` if there is none."""
        return self._ask(Op.TOUCH, object_id, ttl).status is not Status.ABSENT

    def wait(self, object_id: str, timeout: float | None) -> bool:
        """Wait for an object; `False` after ``timeout`` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        last_loss = 0.0
        while True:
            left = None if end is None else max(0.0, end - time.monotonic())
            try:
                return self._waits.wait(object_id, left)
            except LostError as error:
                if self._is_crowded(error):
                    time.sleep(_CROWD_SECONDS)
                    continue
                now = time.monotonic()
                if now - last_loss < _LOSS_SECONDS:
                    raise self._gone(error) from error
                last_loss = now

    def hello(self) -> str:
        """What keys say of the process, if it is the one that is meant."""
        return self._over_channel(self._greet, again=True)

    def release(self) -> None:
        """Have the process see that its owner is gone. Waits for no answer: it may have stopped."""

        def work(channel: Channel) -> None:
            channel.send(Request(Op.RELEASED, channel.number()))

        self._over_channel(work, again=True)

    def close(self) -> None:
        """Let go of all connections that are not in use. Idempotent."""
        with self._lock:
            self._closed = True
        self._waits.close()
        self._drop_idle()

    # --- Requests -------------------------------------------------------------

    def _ask(self, op: Op, object_id: str = "", ttl: float | None = None) -> Reply:
        def work(channel: Channel) -> Reply:
            number = channel.number()
            channel.send(Request(op, number, object_id, ttl=ttl))
            return channel.receive(number)

        return self._checked(self._over_channel(work, again=True))

    def _store(
        self, op: Op, object_id: str, payload: Payload, ttl: float | None, *, again: bool = False
    ) -> Reply:
        def work(channel: Channel) -> Reply:
            if payload_nbytes(payload) <= CHUNK_NBYTES:
                return channel.receive(_send_whole(channel, op, object_id, payload, ttl))
            begin = Op.BEGIN_PUT if op is Op.PUT else Op.BEGIN_REPLACE
            return _upload(channel, begin, object_id, payload, ttl)

        return self._check_stored(self._over_channel(work, again=again), payload)

    def _settle(self, channel: Channel, sent: deque[tuple[int, Payload]]) -> None:
        while sent:
            number, payload = sent.popleft()
            self._check_stored(channel.receive(number), payload)

    def _fetch(self, channel: Channel, number: int) -> Found:
        reply = self._checked(channel.receive(number))
        if reply.status is Status.ABSENT:
            return Found(None, None)
        data = bytearray(reply.data)
        channel.read(data)
        while len(data) < reply.a:
            before = len(data)
            channel.receive(number)
            # Grows in place: making it as long first would write every page twice.
            channel.read(data)
            if len(data) == before:
                raise self._unavailable("it sent less of an object than it said")
        return Found(data, reply.b)

    def _check_stored(self, reply: Reply, payload: Payload) -> Reply:
        if reply.status is Status.FULL:
            raise MediumFullError(
                self._endpoint.where,
                payload_nbytes(payload),
                f"{reply.a} of its {reply.b} bytes are in use. Evict objects, give them a ttl, "
                f"or make the store with a larger max_nbytes.",
            )
        return self._checked(reply)

    def _checked(self, reply: Reply) -> Reply:
        if reply.status in {Status.OK, Status.ABSENT, Status.TAKEN}:
            return reply
        if reply.status is Status.FORGOTTEN:
            raise self._unavailable("it heard nothing for so long that it gave the object up")
        raise self._unavailable("it refused the request")

    # --- Connections ------------------------------------------------------------

    def _over_channel(self, work: Callable[[Channel], T], *, again: bool) -> T:
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return self._once(work)
            except LostError as error:
                # The others that are idle went to the same process.
                self._drop_idle()
                if self._is_crowded(error):
                    self._come_again(deadline)
                elif again:
                    again = False
                else:
                    raise self._gone(error) from error

    def _is_crowded(self, error: LostError) -> bool:
        """Whether a connection was refused by a process that lives: its queue is full."""
        return not error.begun and self._endpoint.is_served()

    def _come_again(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise self._unavailable(
                f"there was no place among those who wait for it, for {self._timeout:g} s",
                "See whether its node is overloaded, or give the connector a longer timeout.",
            )
        time.sleep(_CROWD_SECONDS)

    def _once(self, work: Callable[[Channel], T]) -> T:
        channel = self._idle_channel() or self._open()
        try:
            answer = work(channel)
        except BaseException:
            # Replies to what was asked may still come.
            channel.close()
            raise
        with self._lock:
            # Kept after `close`, it would never be closed.
            keep = not self._closed and len(self._idle) < _MAX_IDLE
            if keep:
                self._idle.append(channel)
        if not keep:
            channel.close()
        return answer

    def _idle_channel(self) -> Channel | None:
        while self._idle:
            try:
                channel = self._idle.pop()
            except IndexError:
                return None
            if not channel.is_lost():
                return channel
            channel.close()
        return None

    def _open(self) -> Channel:
        channel = Channel(self._context, self._endpoint, self._timeout)
        try:
            # Where it may be another one by now.
            if self._endpoint.name:
                self._greet(channel)
        except BaseException:
            channel.close()
            raise
        return channel

    def _greet(self, channel: Channel) -> str:
        number = channel.number()
        channel.send(Request(Op.HELLO, number, self._endpoint.name))
        reply = channel.receive(number)
        if reply.status is not Status.OK:
            raise self._ended(
                "it has ended, and its objects with it: another store process is in its place"
            )
        where = str(reply.data, "ascii", "replace")
        if not is_where(where):
            raise self._unavailable("it does not say where it is")
        return where

    def _drop_idle(self) -> None:
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()

    def _gone(self, error: LostError) -> ConnectorUnavailableError:
        """What it means that a connection was lost, and so was another one."""
        if self._endpoint.keys is None:
            return self._ended("it has ended, and its objects with it")
        if error.refused:
            return self._unavailable(
                "it refused the connection, or something else listens there",
                "See that all nodes have the secret that the owner of the store has.",
            )
        return self._unavailable(
            "the connection ended, or there is none to be had",
            "See whether the store that made it is open, and its node up and not firewalled.",
        )

    def _ended(self, found: str) -> MediumGoneError:
        return MediumGoneError(
            self._endpoint.where,
            found,
            "Keep the store that made it open until every proxy of it has been used.",
        )

    def _unavailable(
        self, found: str, advice: str = "Ask again; if that does not help, make a new store."
    ) -> ConnectorUnavailableError:
        return ConnectorUnavailableError(self._endpoint.where, found, advice)


def _send_whole(
    channel: Channel, op: Op, object_id: str, payload: Payload, ttl: float | None
) -> int:
    """Send a payload in one message; the number of the request."""
    number = channel.number()
    if payload_nbytes(payload) <= INLINE_NBYTES:
        channel.send(Request(op, number, object_id, ttl=ttl, data=as_bytes(payload)))
    else:
        channel.send(Request(op, number, object_id, ttl=ttl), list(pieces_of(payload)))
    return number


def _upload(
    channel: Channel, op: Op, object_id: str, payload: Payload, ttl: float | None
) -> Reply:
    """Send a payload in chunks, once there is room for it; what became of it."""
    number = channel.number()
    channel.send(Request(op, number, object_id, payload_nbytes(payload), ttl=ttl))
    reply = channel.receive(number)
    trackers: list[zmq.MessageTracker] = []
    unanswered = 0
    for piece in pieces_of(payload):
        if reply.status is not Status.OK:
            return reply
        trackers.append(channel.send_shared(Request(Op.CHUNK, number), piece))
        unanswered += 1
        if unanswered == _AHEAD:
            reply = channel.receive(number)
            unanswered -= 1
    while unanswered and reply.status is Status.OK:
        reply = channel.receive(number)
        unanswered -= 1
    for tracker in trackers:
        # They are all there, so this is but for zmq to let go of the caller's buffers.
        tracker.wait(_LET_GO_SECONDS)
    return reply
