"""One process that does what it is told to objects, until it is killed."""

from __future__ import annotations

import enum
import signal
import traceback
import warnings
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from objects import make, token_of
from watch import Usage

from proxystore.abc import Key
from proxystore.connectors.file import FileConnector
from proxystore.connectors.load import connector_from_url
from proxystore.connectors.shm import ShmConnector
from proxystore.errors import KeyNotSetError

__all__ = ["HELD", "WRITES", "Answer", "Failure", "Op", "Request", "Subject", "work"]

Subject = FileConnector | ShmConnector
"""What is soaked."""

HELD = 16
"""Views that a worker holds at most."""


class Op(enum.Enum):
    """What a worker can be told; the values are shown in the summary."""

    PUT = "put"
    SET = "set"
    GET = "get"
    HOLD = "hold"
    SCRIBBLE = "scribble"
    REPLACE = "replace"
    TOUCH = "touch"
    EVICT = "evict"
    USAGE = "usage"


WRITES = frozenset({Op.PUT, Op.SET, Op.REPLACE})
"""Those that write an object, which takes several steps."""


@dataclass(frozen=True)
class Request:
    """One thing to do."""

    op: Op
    medium: int = 0
    key: Key = ()
    token: int = 0
    ttl: float | None = None


@dataclass(frozen=True)
class Failure:
    """What a worker answers instead if an operation raised."""

    trace: str


Answer = Key | int | bool | Usage | Failure | None
"""`PUT`: the key. Reads: the token, or `None`. `REPLACE`, `TOUCH`: whether there was one."""


def work(connection: Connection, urls: list[str]) -> None:
    """Answer requests until the other end of ``connection`` is closed."""
    # Ctrl-C is for the process that asks; this one ends when nobody asks any more.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # They go to disk, one warning each says, as they should.
    warnings.simplefilter("ignore", RuntimeWarning)
    worker = _Worker([connector_from_url(url) for url in urls])
    with suppress(EOFError, ConnectionError):
        while True:
            connection.send(_attempt(worker, connection.recv()))


def _attempt(worker: _Worker, request: Request) -> Answer:
    try:
        return worker.answer(request)
    except Exception:  # noqa: BLE001 - whatever it is, the summary shows it
        return Failure(traceback.format_exc())


# Any: connectors of either kind, with keys of their own.
class _Worker:
    def __init__(self, media: list[Any]) -> None:
        self._media = media
        self._held: deque[tuple[int, bytes | bytearray | memoryview]] = deque(maxlen=HELD)

    def answer(self, request: Request) -> Answer:
        if request.op is Op.USAGE:
            return Usage.of_this_process()
        return self._use(self._media[request.medium], request)

    def _use(self, medium: Any, request: Request) -> Answer:
        key = request.key
        match request.op:
            case Op.PUT:
                made: Key = medium.put(make(request.token), ttl=request.ttl)
                return made
            case Op.SET:
                medium.set(key, make(request.token), ttl=request.ttl)
            case Op.REPLACE:
                try:
                    medium.replace(key, make(request.token))
                except KeyNotSetError:
                    return False
            case Op.TOUCH:
                return bool(medium.touch(key, request.ttl))
            case Op.EVICT:
                medium.evict(key)
            case _:
                return self._read(medium, key, request.op)
        return True

    def _read(self, medium: Any, key: Key, op: Op) -> int | None:
        view = medium.get(key)
        if view is None:
            return None
        token = token_of(view)
        if op is Op.HOLD:
            self._held.append((token, view))
            for expected, held in self._held:
                if token_of(held) != expected:
                    raise AssertionError(f"A held view of {expected} is now {token_of(held)}.")
        elif op is Op.SCRIBBLE and not isinstance(view, bytes):
            # Ours alone: whoever reads it next would call it torn otherwise.
            view[:] = bytes(len(view))
        return token
