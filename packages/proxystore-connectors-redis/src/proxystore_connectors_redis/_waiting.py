"""Waiting for objects: one connection and one thread, however many wait."""

from __future__ import annotations

import contextlib
import math
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

from proxystore.errors import (
    ClosedError,
    ConnectorUnavailableError,
    ProxyStoreError,
    SecretNotFoundError,
    UnsafeSecretError,
)
from proxystore.host.forks import remake_in_child
from proxystore_connectors_redis._failures import Failures
from proxystore_connectors_redis._wire import NotRedisError, Reply, ServerError, Wire, command

__all__ = ["Notices", "Waiter"]

_RETRY_SECONDS = 0.1


class Waiter:
    """A thread that waits for something to happen in a channel."""

    def __init__(self) -> None:
        self._happened = threading.Event()
        self._error: ProxyStoreError | None = None

    def next(self, timeout: float | None) -> bool:
        """Wait until something may have happened; `False` after ``timeout`` seconds.

        Raises:
            ConnectorUnavailableError: The server has been gone for too long.
            ClosedError: The connector was closed.
        """
        happened = self._happened.wait(timeout)
        self._happened.clear()
        if self._error is not None:
            raise self._error
        return happened

    def notify(self, error: ProxyStoreError | None = None) -> None:
        """End `next`."""
        self._error = error
        self._happened.set()


class _Caller(Waiter):
    """Something to call when something may have happened, or the server is lost."""

    def __init__(self, call: Callable[[], None]) -> None:
        super().__init__()
        self._call = call

    def notify(self, error: ProxyStoreError | None = None) -> None:
        self._call()


class Notices:
    """Tells threads when something may have happened to what they wait for.

    A thread of its own listens while somebody waits, and for a while after.
    Thread safe. A forked child begins without waiters, thread and connection.

    Args:
        connect: Makes a connection; raises an error of `proxystore.errors`.
        failures: Of the server.
        timeout: Seconds for which the server may be silent, or gone, before waits fail.
    """

    def __init__(self, connect: Callable[[], Wire], failures: Failures, timeout: float) -> None:
        self._connect = connect
        self._failures = failures
        self._timeout = timeout
        self._closed_as: str | None = None
        self._reset()
        remake_in_child(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._waiters: dict[bytes, list[Waiter]] = {}
        # Channels to which the server has said that we listen.
        self._confirmed: set[bytes] = set()
        self._wire: Wire | None = None
        # To wake the listener with; there is one while there is a listener.
        self._bell: socket.socket | None = None

    def remade_in_child(self) -> None:
        """Let go of the parent's connection and thread, which go on in the parent."""
        for inherited in (self._wire, self._bell):
            if inherited is not None:
                inherited.close()
        self._reset()

    def wait(self, channel: bytes, check: Callable[[], bool], timeout: float | None) -> bool:
        """Block until ``check`` holds, which a message in ``channel`` may mean.

        Args:
            channel: Where it is said.
            check: Asks the server. That it cannot, for a while, ends no wait.
            timeout: Seconds after which to give up; `None`: never.

        Raises:
            ConnectorUnavailableError: The server cannot be used, or could not for too long.
            ClosedError: `close` was called.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        if check():
            return True
        unusable_since: float | None = None
        with self.of(channel) as waiter:
            while (left := deadline - time.monotonic()) > 0:
                pause = left if unusable_since is None else min(left, _RETRY_SECONDS)
                happened = waiter.next(None if pause == math.inf else pause)
                if not happened and unusable_since is None:
                    break
                try:
                    if check():
                        return True
                    unusable_since = None
                except ConnectorUnavailableError:
                    now = time.monotonic()
                    unusable_since = now if unusable_since is None else unusable_since
                    if now - unusable_since >= self._timeout:
                        raise
        return False

    @contextlib.contextmanager
    def of(self, channel: bytes) -> Iterator[Waiter]:
        """A waiter that is notified once we listen to ``channel``, and then of each message."""
        waiter = Waiter()
        self._enter(channel, waiter)
        try:
            yield waiter
        finally:
            self._leave(channel, waiter)

    def call_on(self, channel: bytes, call: Callable[[], None]) -> Callable[[], None]:
        """Make ``call`` whenever something may have happened in ``channel``.

        Made by the thread that listens; a last time if the server is lost.

        Returns:
            What ends it, and may be called again.
        """
        caller = _Caller(call)
        self._enter(channel, caller)
        return partial(self._leave, channel, caller)

    def _enter(self, channel: bytes, waiter: Waiter) -> None:
        with self._lock:
            if self._closed_as is not None:
                raise ClosedError(self._closed_as)
            self._waiters.setdefault(channel, []).append(waiter)
            if channel in self._confirmed:
                waiter.notify()
            self._ring()

    def _leave(self, channel: bytes, waiter: Waiter) -> None:
        with self._lock:
            others = self._waiters.get(channel, [])
            if waiter in others:
                others.remove(waiter)
            if not others:
                self._waiters.pop(channel, None)
                self._ring()

    def close(self, name: str) -> None:
        """End every wait with a `ClosedError` about ``name``."""
        with self._lock:
            self._closed_as = name
            self._ring()
        self._end_waits(ClosedError(name))

    def _ring(self) -> None:
        """Have the listener look at the waiters anew. Under the lock."""
        if self._bell is None:
            if not self._waiters or self._closed_as is not None:
                return
            self._bell, ear = socket.socketpair()
            for end in (ear, self._bell):
                end.settimeout(0)
            name = f"notices of {self._failures.where}"
            threading.Thread(target=self._listen, args=(ear,), name=name, daemon=True).start()
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            self._bell.send(b"!")

    def _end_waits(self, error: ProxyStoreError) -> None:
        with self._lock:
            waiters = [waiter for some in self._waiters.values() for waiter in some]
            self._waiters.clear()
        for waiter in waiters:
            waiter.notify(error)

    # --- The listener ---------------------------------------------------------

    def _listen(self, ear: socket.socket) -> None:
        since: float | None = None
        with ear:
            while not self._has_ended():
                try:
                    with contextlib.closing(self._connect()) as self._wire:
                        since = None
                        self._follow(self._wire, ear)
                except (SecretNotFoundError, UnsafeSecretError) as error:
                    # The next attempt would find no other.
                    self._end_waits(error)
                except ServerError as error:
                    self._end_waits(self._failures.explained(error))
                except (OSError, NotRedisError) as error:
                    now = time.monotonic()
                    since = now if since is None else since
                    if now - since >= self._timeout:
                        self._end_waits(
                            error
                            if isinstance(error, ProxyStoreError)
                            else self._failures.explained(error)
                        )
                    time.sleep(_RETRY_SECONDS)

    def _has_ended(self) -> bool:
        """Whether the listener is done, which it then is for all that others know."""
        with self._lock:
            self._confirmed.clear()
            self._wire = None
            if self._waiters and self._closed_as is None:
                return False
            if self._bell is not None:
                self._bell.close()
            self._bell = None
            return True

    def _follow(self, wire: Wire, ear: socket.socket) -> None:
        """Listen to what is waited for, until nothing is for a while."""
        poll = select.poll()
        poll.register(wire, select.POLLIN)
        poll.register(ear, select.POLLIN)
        heard: set[bytes] = set()
        is_asked = False
        while self._closed_as is None:
            heard = self._adjusted(wire, heard)
            ready = {wire.fileno()} if wire.has_buffered else set(map(_first, poll.poll(self._ms)))
            if ear.fileno() in ready:
                ear.recv(4096)
            if wire.fileno() in ready:
                self._deliver(wire.reply())
                is_asked = False
            elif not ready:
                if not heard:
                    return
                if is_asked:
                    raise TimeoutError
                # A server that is gone without a word answers nothing.
                wire.send([command(b"PING")], 0)
                is_asked = True

    @property
    def _ms(self) -> float:
        return self._timeout * 1000

    def _adjusted(self, wire: Wire, heard: set[bytes]) -> set[bytes]:
        """Listen to all channels that somebody waits for; ``heard`` are those so far."""
        with self._lock:
            wanted = set(self._waiters)
            self._confirmed &= wanted
        for verb, channels in ((b"SUBSCRIBE", wanted - heard), (b"UNSUBSCRIBE", heard - wanted)):
            if channels:
                wire.send([command(verb, *channels)], 0)
        return wanted

    def _deliver(self, reply: Reply) -> None:
        match reply:
            case ServerError():
                raise reply
            case [b"subscribe" | b"message" as kind, bytes(channel), *_]:
                with self._lock:
                    waiters = list(self._waiters.get(channel, ()))
                    if kind == b"subscribe":
                        self._confirmed.add(channel)
                for waiter in waiters:
                    waiter.notify()


def _first(event: tuple[int, int]) -> int:
    return event[0]
