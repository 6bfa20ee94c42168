"""A Redis server: requests that are tried again for a while, errors that say what to do."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, TypeVar, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from proxystore.abc import Acknowledgement
from proxystore.errors import ClosedError
from proxystore_patterns._options import checked_wait
from proxystore_patterns.errors import BrokerUnavailableError

__all__ = ["RedisServer"]

R = TypeVar("R")

_AGAIN = (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError)
_FIRST_WAIT, _LONGEST_WAIT = 0.01, 0.5


class RedisServer:
    """One server, as a client sees it. Thread safe; connections are made when needed.

    Args:
        hostname: Of the server.
        port: Of the server.
        retry_for: Seconds to try again while the server cannot be reached.
        options: Of `redis.Redis`, such as ``password``.
    """

    # Any: options of different types.
    def __init__(self, hostname: str, port: int, retry_for: float, options: dict[str, Any]) -> None:
        self.where = f"redis at {hostname}:{port}"
        self._retry_for = checked_wait("retry_for", retry_for)
        self._closed = False
        given = {"socket_timeout": 10.0, "socket_connect_timeout": 5.0, **options}
        # What is tried again, and for how long, is up to `call`.
        given |= {"retry": Retry(NoBackoff(), 0), "decode_responses": False}
        self.client = redis.Redis(hostname, port, **given)
        self._kept = threading.local()
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()

    # Any: redis-py types its answers by unions of all.
    def call(self, request: Callable[[Any], R]) -> R:
        """What ``request`` gives; it may be made twice if an answer is lost.

        Raises:
            BrokerUnavailableError: The server cannot be reached, or refused.
            ClosedError: After `close`.
        """
        if self._closed:
            raise ClosedError(f"This use of {self.where}")
        deadline = time.monotonic() + self._retry_for
        wait = _FIRST_WAIT
        while True:
            try:
                return request(self.client)
            except redis.AuthenticationError as exc:
                raise self._failure(exc, "Give username= and password=.") from exc
            except _AGAIN as exc:
                if time.monotonic() + wait > deadline:
                    raise self._failure(
                        exc, "See that it runs and can be reached from here; then go on."
                    ) from exc
            except redis.RedisError as exc:
                raise self._failure(exc, _advice(exc)) from exc
            # Jitter, or all clients come back at the same moment.
            time.sleep(wait * random.uniform(0.5, 1))  # noqa: S311 - no secret
            wait = min(wait * 2, _LONGEST_WAIT)

    def command(self, *parts: Any) -> Any:
        """The answer to one command, as bytes and lists of them.

        By a connection that the thread keeps: a pool, with what it checks at each use,
        costs 30 us, a fifth of a round trip.
        """
        return self.call(lambda _: self._direct(parts))

    def try_call(self, request: Callable[[Any], object]) -> None:
        """Make ``request`` once, whatever comes of it."""
        with contextlib.suppress(redis.RedisError):
            request(self.client)

    def acknowledges(self) -> Acknowledgement:
        """What a write survives once it is answered, by the server's configuration."""
        try:
            found = self.client.config_get("append*")
        # Not everybody may ask; then nothing is promised.
        except redis.ResponseError:
            return Acknowledgement.MEMORY
        except redis.RedisError as exc:
            raise self._failure(exc, "See that it runs and can be reached from here.") from exc
        # Any: redis-py does not say of what type they are.
        plain = {_text(name): _text(value) for name, value in cast("Any", found).items()}
        if plain.get("appendonly") != "yes":
            return Acknowledgement.MEMORY
        if plain.get("appendfsync") == "always":
            return Acknowledgement.DISK
        return Acknowledgement.PROCESS

    def close(self) -> None:
        """End the connections. Idempotent."""
        self._closed = True
        for connection in list(self._connections):
            connection.disconnect()
        self.client.close()

    def _direct(self, parts: tuple[Any, ...]) -> Any:
        connection = self._connection()
        try:
            connection.send_command(*parts)
            return connection.read_response()
        except redis.ResponseError:
            raise
        # Whatever it was, the answer must not be that to the next command.
        except BaseException:
            connection.disconnect()
            raise

    # Any: redis-py has a class of connection for each way to a server.
    def _connection(self) -> Any:
        """This thread's own; a forked child makes it anew."""
        if getattr(self._kept, "pid", None) != os.getpid():
            self._kept.connection = self.client.connection_pool.make_connection()
            self._kept.pid = os.getpid()
            self._connections.add(self._kept.connection)
        return self._kept.connection

    def _failure(self, exc: Exception, advice: str) -> BrokerUnavailableError:
        lines = str(exc).splitlines() or [""]
        found = f"{type(exc).__name__}: {lines[0][:200]}".removesuffix(".")
        return BrokerUnavailableError(self.where, found, advice)


def _advice(exc: Exception) -> str:
    if str(exc).startswith("WRONGTYPE"):
        return "Something else is kept under that name: give the topic another one."
    return "See what it says of it in its log."


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
