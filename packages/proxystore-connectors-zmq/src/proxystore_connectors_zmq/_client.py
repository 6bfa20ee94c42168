"""A store process as its clients see it: some connections, and what can be asked over them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

import zmq

from proxystore.errors import MediumFullError
from proxystore.payload import Payload, as_bytes, payload_nbytes
from proxystore_connectors_zmq._channel import Channel, Endpoint, LostError
from proxystore_connectors_zmq._pool import CROWD_SECONDS, Pool
from proxystore_connectors_zmq._reader import Found, Reader
from proxystore_connectors_zmq._waits import Waits
from proxystore_connectors_zmq._wire import (
    AHEAD,
    CHUNK_NBYTES,
    INLINE_NBYTES,
    Op,
    Reply,
    Request,
    Status,
    pieces_of,
)

__all__ = ["END", "Client"]

_LOSS_SECONDS = 1.0
"""A wait goes on over a new connection, unless that one is lost as soon as this."""
_LET_GO_SECONDS = 10.0
END = (1 << 64) - 1
"""Past the end of any object."""


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
        self._where = endpoint.where
        self._pool = Pool(context, endpoint, timeout)
        self._waits = Waits(context, endpoint)

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
                if len(sent) == AHEAD or payload_nbytes(payload) > CHUNK_NBYTES:
                    self._settle(channel, sent)
                if payload_nbytes(payload) > CHUNK_NBYTES:
                    reply = _upload(channel, Op.BEGIN_PUT, object_id, payload, ttl)
                    self._check_stored(reply, payload)
                else:
                    sent.append((_send_whole(channel, Op.PUT, object_id, payload, ttl), payload))
            self._settle(channel, sent)

        self._pool.run(work, again=True)

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
        return self._pool.run(
            lambda channel: Reader(channel, self._pool).read(object_ids, offset, nbytes),
            again=True,
        )

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
                if self._pool.is_crowded(error):
                    time.sleep(CROWD_SECONDS)
                    continue
                now = time.monotonic()
                if now - last_loss < _LOSS_SECONDS:
                    raise self._pool.gone(error) from error
                last_loss = now

    def hello(self) -> str:
        """What keys say of the process, if it is the one that is meant."""
        return self._pool.run(self._pool.greet, again=True)

    def release(self) -> None:
        """Have the process see that its owner is gone. Waits for no answer: it may have stopped."""

        def work(channel: Channel) -> None:
            channel.send(Request(Op.RELEASED, channel.number()))

        self._pool.run(work, again=True)

    def close(self) -> None:
        """Let go of all connections that are not in use. Idempotent."""
        self._waits.close()
        self._pool.close()

    # --- Requests -------------------------------------------------------------

    def _ask(self, op: Op, object_id: str = "", ttl: float | None = None) -> Reply:
        def work(channel: Channel) -> Reply:
            number = channel.number()
            channel.send(Request(op, number, object_id, ttl=ttl))
            return channel.receive(number)

        return self._pool.checked(self._pool.run(work, again=True))

    def _store(
        self, op: Op, object_id: str, payload: Payload, ttl: float | None, *, again: bool = False
    ) -> Reply:
        def work(channel: Channel) -> Reply:
            if payload_nbytes(payload) <= CHUNK_NBYTES:
                return channel.receive(_send_whole(channel, op, object_id, payload, ttl))
            begin = Op.BEGIN_PUT if op is Op.PUT else Op.BEGIN_REPLACE
            return _upload(channel, begin, object_id, payload, ttl)

        return self._check_stored(self._pool.run(work, again=again), payload)

    def _settle(self, channel: Channel, sent: deque[tuple[int, Payload]]) -> None:
        while sent:
            number, payload = sent.popleft()
            self._check_stored(channel.receive(number), payload)

    def _check_stored(self, reply: Reply, payload: Payload) -> Reply:
        if reply.status is Status.FULL:
            raise MediumFullError(
                self._where,
                payload_nbytes(payload),
                f"{reply.a} of its {reply.b} bytes are in use. Evict objects, give them a ttl, "
                f"or make the store with a larger max_nbytes.",
            )
        return self._pool.checked(reply)


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
        if unanswered == AHEAD:
            reply = channel.receive(number)
            unanswered -= 1
    while unanswered and reply.status is Status.OK:
        reply = channel.receive(number)
        unanswered -= 1
    for tracker in trackers:
        # They are all there, so this is but for zmq to let go of the caller's buffers.
        tracker.wait(_LET_GO_SECONDS)
    return reply
