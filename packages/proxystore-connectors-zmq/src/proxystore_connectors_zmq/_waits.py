"""Waiting for objects: one connection for all threads of this process that wait."""

from __future__ import annotations

import itertools
import os
import threading
import time
from contextlib import suppress

import zmq

from proxystore_connectors_zmq._channel import Endpoint, LostError, check, connect, disconnect
from proxystore_connectors_zmq._wire import GarbageError, Op, Reply, Request, Status

__all__ = ["Waits"]

_RENEW_SECONDS = 30.0


class _Waiter:
    """A thread that waits for an object."""

    def __init__(self, object_id: str) -> None:
        self.object_id = object_id
        self.is_over = threading.Event()
        self.failure: Exception | None = None

    def end(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.is_over.set()


class Waits:
    """Waits at one store process. Thread safe.

    The process pushes what is waited for, to a thread that runs while somebody waits
    and for a while after.

    Args:
        context: Of this process.
        endpoint: Where the process is.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: Endpoint) -> None:
        self._context, self._endpoint = context, endpoint
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiters: dict[int, _Waiter] = {}
        self._news: list[Request] = []
        self._bell: int | None = None
        self._closed = False

    def wait(self, object_id: str, timeout: float | None) -> bool:
        """Wait for an object; `False` after ``timeout`` seconds.

        Raises:
            LostError: The process cannot be reached any more, or `close` was called.
        """
        waiter = _Waiter(object_id)
        with self._lock:
            if self._closed:
                raise LostError
            number = next(self._numbers) & 0xFFFFFFFF
            self._waiters[number] = waiter
            self._tell(Request(Op.WAIT, number, object_id))
        try:
            is_over = waiter.is_over.wait(timeout)
        finally:
            with self._lock:
                if self._waiters.pop(number, None):
                    self._tell(Request(Op.UNWAIT, 0, a=number))
        if waiter.failure is not None:
            raise waiter.failure
        return is_over

    def close(self) -> None:
        """End every wait. Idempotent."""
        with self._lock:
            self._closed = True
            self._ring()

    def _tell(self, request: Request) -> None:
        """Have the thread send ``request``; starts it if there is none. With the lock."""
        self._news.append(request)
        if self._bell is not None:
            self._ring()
            return
        listening, self._bell = os.pipe()
        os.set_blocking(self._bell, False)
        threading.Thread(
            target=self._run, args=(listening,), name="proxystore-zmq-waits", daemon=True
        ).start()

    def _ring(self) -> None:
        if self._bell is not None:
            # A pipe that is full rings already.
            with suppress(BlockingIOError):
                os.write(self._bell, b"\0")

    # --- The thread -------------------------------------------------------------

    def _run(self, bell: int) -> None:
        failure: Exception | None = LostError()
        try:
            socket, monitor = connect(self._context, self._endpoint)
            try:
                self._serve(socket, monitor, bell)
                failure = None
            finally:
                disconnect(socket, monitor)
        except LostError as error:
            failure = error
        except zmq.ContextTerminated:
            # The connector is closed, as `wait` is told.
            pass
        with self._lock:
            # With the lock: nobody may ring where nobody listens.
            os.close(bell)
            if failure is not None:
                self._hang_up()
                self._news.clear()
                while self._waiters:
                    self._waiters.popitem()[1].end(failure)

    def _hang_up(self) -> None:
        if self._bell is not None:
            os.close(self._bell)
        self._bell = None

    def _serve(
        self, socket: zmq.Socket[bytes], monitor: zmq.Socket[bytes], bell: int
    ) -> None:
        """Send what is new and hear what has come, until nobody waits or `close`."""
        poller = zmq.Poller()
        for source in (socket, monitor, bell):
            poller.register(source, zmq.POLLIN)
        if self._endpoint.name:
            socket.send(Request(Op.HELLO, 0, self._endpoint.name).encode())
        renewal = time.monotonic() + _RENEW_SECONDS
        while True:
            if time.monotonic() >= renewal:
                renewal = time.monotonic() + _RENEW_SECONDS
                if not self._renew():
                    return
            self._send_news(socket)
            ready = dict(poller.poll(max(0, int((renewal - time.monotonic()) * 1000)) + 1))
            if bell in ready:
                os.read(bell, 4096)
            if self._closed:
                raise LostError
            if monitor in ready:
                check(monitor)
            if socket in ready:
                self._hear(socket)

    def _renew(self) -> bool:
        """Ask again for all that is waited for; `False` if nothing is, and the thread ends."""
        with self._lock:
            if not self._waiters and not self._news:
                self._hang_up()
                return False
            self._news += [
                Request(Op.WAIT, number, waiter.object_id)
                for number, waiter in self._waiters.items()
            ]
        return True

    def _send_news(self, socket: zmq.Socket[bytes]) -> None:
        with self._lock:
            news, self._news = self._news, []
        for request in news:
            try:
                socket.send(request.encode())
            except zmq.Again:
                raise LostError from None

    def _hear(self, socket: zmq.Socket[bytes]) -> None:
        with suppress(zmq.Again):
            while True:
                try:
                    reply = Reply.parse(memoryview(socket.recv(zmq.NOBLOCK)))
                except GarbageError:
                    raise LostError from None
                if reply.status is not Status.OK:
                    raise LostError
                with self._lock:
                    waiter = self._waiters.pop(reply.number, None)
                if waiter is not None:
                    waiter.end()
