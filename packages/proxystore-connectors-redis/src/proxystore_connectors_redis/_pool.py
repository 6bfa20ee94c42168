"""Connections that threads share, each for as long as one operation takes."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable
from typing import TypeVar

from proxystore.errors import ClosedError, ProxyStoreError
from proxystore.host.forks import remake_in_child
from proxystore_connectors_redis._failures import Failures
from proxystore_connectors_redis._wire import NotRedisError, ServerError, Wire

__all__ = ["Pool"]

T = TypeVar("T")

_LIMIT = 64


class _Slot:
    """Room for one connection, which is taken for as long as somebody has this object."""

    __slots__ = ("__weakref__", "wire")

    def __init__(self) -> None:
        self.wire: Wire | None = None

    def close(self) -> None:
        """End the connection, if there is one."""
        if self.wire is not None:
            self.wire.close()


class Pool:
    """Up to 64 connections to one server, made when they are needed.

    Thread safe. A forked child begins without any.

    Args:
        connect: Makes a connection; raises an error of `proxystore.errors`.
        failures: Of the server.
        timeout: Most seconds to wait for a connection while none is given back.
        name: What is closed, once it is, for the message.
    """

    def __init__(
        self, connect: Callable[[], Wire], failures: Failures, timeout: float, name: str
    ) -> None:
        self._connect = connect
        self._failures = failures
        self._timeout = timeout
        self._name = name
        self._is_closed = False
        self._reset()
        remake_in_child(self)

    def _reset(self) -> None:
        # Taken and put without the lock, for each does one thing to a list.
        self._idle: list[_Slot] = []
        # Weakly: an interrupt may come between any two steps, and what it lets fall is free.
        self._slots: weakref.WeakSet[_Slot] = weakref.WeakSet()
        # Its own `with` is written in Python, where an interrupt can leave the lock taken.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting = self._given_back = 0

    def remade_in_child(self) -> None:
        """Let go of the parent's connections, on which the parent goes on."""
        for slot in self._idle:
            slot.close()
        self._reset()

    def run(self, operation: Callable[[Wire], T], nbytes: int = 0) -> T:
        """What ``operation`` returns, given a connection.

        It is called once more, with a new connection, when the first was lost,
        as after the server was restarted, or when another server has taken its place;
        so it must be one that may be repeated.

        Args:
            operation: Reads every reply that it asked for.
            nbytes: Size of what it stores, for messages.

        Raises:
            ClosedError: The pool is closed.
            ConnectorUnavailableError: The server cannot be reached or used, or was not in time.
            MediumFullError: It has no room.
        """
        try:
            try:
                return self._attempt(operation)
            except (ProxyStoreError, TimeoutError, BlockingIOError):
                raise
            except ServerError as error:
                if not self._failures.is_elsewhere(error):
                    raise
            except OSError:
                pass
            # Those that lie idle were lost with it, if the server was restarted or replaced.
            self._drop_idle()
            return self._attempt(operation)
        except ProxyStoreError:
            raise
        except (OSError, ServerError, NotRedisError) as error:
            raise self._failures.explained(error, nbytes) from error

    def _attempt(self, operation: Callable[[Wire], T]) -> T:
        try:
            slot = self._idle.pop()
        except IndexError:
            slot = None
        if slot is None:
            slot = self._acquire()
        wire = slot.wire or self._connected(slot)
        try:
            return operation(wire)
        finally:
            # Also after a KeyboardInterrupt: a reply that nobody read would be taken
            # for that of the next command.
            if wire.is_at_rest:
                self._idle.append(slot)
                if self._waiting:
                    self._tell()
                if self._is_closed:
                    self._drop_idle()
            else:
                self._end(slot)

    def _acquire(self) -> _Slot:
        if self._is_closed:
            raise ClosedError(self._name)
        with self._lock:
            # Before the look at what is idle, so that who gives back after it looks here.
            self._waiting += 1
            try:
                return self._awaited()
            finally:
                self._waiting -= 1

    def _awaited(self) -> _Slot:
        """The next slot that is idle, or a new one if there may be more. Under the lock."""
        while True:
            with contextlib.suppress(IndexError):
                return self._idle.pop()
            if len(self._slots) < _LIMIT:
                slot = _Slot()
                self._slots.add(slot)
                return slot
            before = self._given_back
            if not self._changed.wait(self._timeout) and before == self._given_back:
                raise self._failures.exhausted(_LIMIT)

    def _connected(self, slot: _Slot) -> Wire:
        try:
            slot.wire = self._connect()
        except BaseException:
            self._end(slot)
            raise
        return slot.wire

    def _end(self, slot: _Slot) -> None:
        slot.close()
        self._slots.discard(slot)
        self._tell()

    def _tell(self) -> None:
        """Let somebody who waits have a look."""
        with self._lock:
            self._given_back += 1
            self._changed.notify()

    def _drop_idle(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._end(self._idle.pop())

    def close(self) -> None:
        """End the connections, those in use once they are given back. Idempotent."""
        self._is_closed = True
        self._drop_idle()
