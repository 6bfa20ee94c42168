"""What publishers and subscribers of a Redis server have in common."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from proxystore.abc import Acknowledgement
from proxystore_patterns._options import checked_wait
from proxystore_patterns.errors import (
    EndOfStreamError,
    ProducersLostError,
    StreamTimeoutError,
)
from proxystore_patterns.streams._contract import BrokerCapability, Delivery, Message
from proxystore_patterns.streams.brokers._census import OWN, Census, Look
from proxystore_patterns.streams.brokers._server import RedisServer
from proxystore_patterns.streams.brokers._topics import checked_topic

__all__ = ["BasePublisher", "BaseSubscriber"]

_LEASE = 30.0
_RETRY_FOR = 10.0
# Of one blocking request: shorter than the timeout of a socket.
_SLICE = 1.0


class BasePublisher(ABC):
    """Sends messages by a server. Thread safe.

    Args:
        hostname: Of the server.
        port: Of the server.
        lease: Seconds after which a producer that shows no life counts as lost.
            A thread renews it, which a computation that holds the interpreter's
            lock can keep from running. Of ``producers=``, those that are to begin
            have as long once no other one lives: then the run counts as lost,
            and who begins later begins a new one. Give more where jobs wait
            in a queue.
        retry_for: Seconds to try again while the server cannot be reached.
            A message may arrive twice then; consumers leave out the second.
        options: Of `redis.Redis`, such as ``password`` or ``ssl``.
    """

    _tell: ClassVar[str]
    """Lua that tells subscribers of the end; see `Census.end`."""

    # Any in this class: options of redis-py.
    def __init__(
        self,
        hostname: str,
        port: int,
        *,
        lease: float = _LEASE,
        retry_for: float = _RETRY_FOR,
        **options: Any,
    ) -> None:
        self._server = RedisServer(hostname, port, retry_for, options)
        self._census = Census(self._server, checked_wait("lease", lease, zero=False))

    @property
    def acknowledges(self) -> Acknowledgement:
        """What the server's configuration gives; asks the server.

        `DISK` if it syncs each write, `PROCESS` if it appends each, else `MEMORY`.
        """
        return self._server.acknowledges()

    def begin(self, topic: str, producer: str, *, producers: int = 1) -> None:
        self._census.begin(topic, producer, producers)

    @abstractmethod
    def send_message(self, topic: str, message: bytes) -> None: ...

    def end(self, topic: str, producer: str) -> None:
        self._census.end(topic, producer, self._tell)

    def close(self) -> None:
        self._census.close()
        self._server.close()


class BaseSubscriber(ABC):
    """Receives the messages of one topic of a server.

    Args:
        hostname: Of the server.
        port: Of the server.
        topic: What to receive.
        timeout: Most seconds to wait when `next_message` is given no timeout.
        retry_for: Seconds to try again while the server cannot be reached.
        options: Of `redis.Redis`.
    """

    delivery: Delivery = Delivery.ONE
    capabilities: ClassVar[frozenset[BrokerCapability]] = frozenset(
        {BrokerCapability.NOTICES_LOSS}
    )

    # Any in this class: options of redis-py.
    def __init__(
        self,
        hostname: str,
        port: int,
        topic: str,
        *,
        timeout: float | None = None,
        retry_for: float = _RETRY_FOR,
        **options: Any,
    ) -> None:
        self._topic = checked_topic(topic, OWN)
        self._timeout = None if timeout is None else checked_wait("timeout", timeout)
        self._server = RedisServer(hostname, port, retry_for, options)
        self._census = Census(self._server, _LEASE)
        self._over = False
        self._known = 0

    @property
    def topic(self) -> str:
        return self._topic

    def next_message(self, timeout: float | None = None) -> Message:
        timeout = self._timeout if timeout is None else timeout
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._over:
            left = _SLICE if deadline is None else min(_SLICE, deadline - time.monotonic())
            found = self._receive(max(left, 0.001))
            if found is not None:
                return found
            self._look()
            if deadline is not None and time.monotonic() >= deadline and not self._over:
                assert timeout is not None
                raise StreamTimeoutError(self._topic, "message", timeout)
        raise EndOfStreamError(self._topic)

    def close(self) -> None:
        self._server.close()

    @abstractmethod
    def _receive(self, seconds: float) -> Message | None:
        """The next message, or `None` after a while or once `_over` is set."""

    def _note(self) -> None:
        """Note what ended before, and left nothing: ends after it are this subscriber's."""
        look = self._census.look(self._topic)
        self._over, self._known = False, max(look.over, look.lost)
        if self._known and not look.running and not self._is_drained(look):
            self._known -= 1

    @abstractmethod
    def _is_drained(self, look: Look) -> bool:
        """Whether nothing of the runs before ``look`` is left to receive."""

    def _look(self) -> None:
        """See whether something is left to wait for."""
        if self._over:
            return
        look = self._census.look(self._topic)
        if max(look.over, look.lost) <= self._known or not self._is_drained(look):
            return
        if look.over <= self._known:
            raise ProducersLostError(self._topic, _loss(look))
        self._over = True


def _loss(look: Look) -> str:
    found = "the leases of its last producers ran out"
    if look.begun >= look.expected:
        return found
    return f"only {look.begun} of {look.expected} producers began, and {found}"
