"""`Pool`: connections to a store process, and what it means when they fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import zmq

from proxystore.errors import ConnectorUnavailableError, MediumGoneError
from proxystore_connectors_zmq._channel import Channel, Endpoint, LostError
from proxystore_connectors_zmq._gone import gone
from proxystore_connectors_zmq._wire import Op, Reply, Request, Status, is_where

__all__ = ["CROWD_SECONDS", "Pool"]

T = TypeVar("T")

CROWD_SECONDS = 0.01
"""After which who found no place at a process tries again."""
_MAX_IDLE = 32
_ENDED = "it has ended, and its objects with it"


class Pool:
    """Connections to the store process at an endpoint. Thread safe.

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
        self._lock = threading.Lock()
        self._closed = False

    def run(self, work: Callable[[Channel], T], *, again: bool) -> T:
        """What ``work`` gives over a connection that nobody else uses meanwhile.

        Args:
            work: What to ask.
            again: Whether that can be repeated, once, on a new connection.

        Raises:
            MediumGoneError: The process has ended.
            ConnectorUnavailableError: It cannot be reached, or does not answer.
        """
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return self._once(work)
            except LostError as error:
                # The others that are idle went to the same process.
                self._drop_idle()
                if self.is_crowded(error):
                    self._come_again(deadline)
                elif again:
                    again = False
                else:
                    raise self.gone(error) from error

    def is_crowded(self, error: LostError) -> bool:
        """Whether a connection was refused by a process that lives: its queue is full."""
        return not error.begun and self._endpoint.is_served()

    def _come_again(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise self.unavailable(
                f"there was no place among those who wait for it, for {self._timeout:g} s",
                "See whether its node is overloaded, or give the connector a longer timeout.",
            )
        time.sleep(CROWD_SECONDS)

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
                self.greet(channel)
        except BaseException:
            channel.close()
            raise
        return channel

    def greet(self, channel: Channel) -> str:
        """What keys say of the process, if it is the one that is meant."""
        number = channel.number()
        channel.send(Request(Op.HELLO, number, self._endpoint.name))
        reply = channel.receive(number)
        if reply.status is not Status.OK:
            raise self._ended(f"{_ENDED}: another store process is in its place")
        where = str(reply.data, "ascii", "replace")
        if not is_where(where):
            raise self.unavailable("it does not say where it is")
        return where

    def _drop_idle(self) -> None:
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()

    def gone(self, error: LostError) -> ConnectorUnavailableError:
        """What it means that a connection was lost, and so was another one."""
        if self._endpoint.keys is None:
            return self._ended(_ENDED)
        if error.refused:
            return self.unavailable(
                "it refused the connection, or something else listens there",
                "See that all nodes have the secret that the owner of the store has.",
            )
        return self.unavailable(
            "the connection ended, or there is none to be had",
            "See whether the store that made it is open, and its node up and not firewalled.",
        )

    def _ended(self, found: str) -> MediumGoneError:
        return gone(self._endpoint.where, found, is_owned=self._endpoint.is_owned())

    def unavailable(
        self, found: str, advice: str = "Ask again; if that does not help, make a new store."
    ) -> ConnectorUnavailableError:
        """The error of a process that is there and is of no use."""
        return ConnectorUnavailableError(self._endpoint.where, found, advice)

    def checked(self, reply: Reply) -> Reply:
        """The reply, unless it is that the process refuses."""
        if reply.status in {Status.OK, Status.ABSENT, Status.TAKEN}:
            return reply
        if reply.status is Status.FORGOTTEN:
            raise self.unavailable("it heard nothing for so long that it gave the object up")
        raise self.unavailable("it refused the request")

    def close(self) -> None:
        """Close all connections that are not in use. Idempotent."""
        with self._lock:
            self._closed = True
        self._drop_idle()
