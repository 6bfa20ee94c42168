"""What a store process does with requests. Knows no sockets."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import zmq

from proxystore.connectors.keys import is_id
from proxystore.errors import KeyAlreadySetError, KeyNotSetError, MediumFullError
from proxystore.serving import ObjectTable, Room
from proxystore_connectors_zmq._reads import Piece, Pieces, Reads, Send
from proxystore_connectors_zmq._wire import INLINE_NBYTES, GarbageError, Op, Reply, Request, Status

__all__ = ["Service"]

_FORGET_SECONDS = 90.0
"""After which an upload without new chunks, or a wait that is not renewed, is that of the dead."""
_FAREWELL_SECONDS = 5.0


class _Upload:
    """An object whose bytes are coming."""

    def __init__(self, request: Request, room: Room) -> None:
        self.request, self.room = request, room
        self.missing = request.a
        self.pieces: list[Piece] = []
        self.seen = time.monotonic()


class _Wait(NamedTuple):
    object_id: str
    answer: Callable[[], None]
    seen: float


class Service:
    """The objects of a store process, for clients that ask by messages. For one thread.

    A message that makes no sense changes nothing.

    Args:
        table: Where the objects are.
        names: What this process answers to: its instance, and its namespace if it is home.
        where: What keys of its objects say.
        send: Takes the replies.
    """

    def __init__(
        self, table: ObjectTable[Pieces], names: frozenset[str], where: str, send: Send
    ) -> None:
        self._table, self._names, self._send = table, names, send
        self._where = where.encode("ascii")
        self._reads = Reads(table, send)
        self._uploads: dict[tuple[bytes, int], _Upload] = {}
        self._waits: dict[tuple[bytes, int], _Wait] = {}
        self._dependants: dict[bytes, float] = {}
        self.released = False
        """Whether somebody said that the owner is no longer there."""
        self._handlers: dict[Op, Callable[[bytes, Request, list[Piece]], Reply | None]] = {
            Op.HELLO: self._hello,
            Op.PUT: self._store,
            Op.REPLACE: self._store,
            Op.BEGIN_PUT: self._begin,
            Op.BEGIN_REPLACE: self._begin,
            Op.CHUNK: self._chunk,
            Op.GET: self._get,
            Op.FIND: self._find,
            Op.EVICT: self._evict,
            Op.TOUCH: self._touch,
            Op.WAIT: self._wait,
            Op.UNWAIT: self._unwait,
            Op.RELEASED: self._released,
        }

    def handle(self, client: bytes, frames: Sequence[zmq.Frame]) -> None:
        """Do what a message of ``client`` asks, and send the reply."""
        try:
            request = Request.parse(frames[0].buffer) if frames else None
        except GarbageError as garbage:
            # Of another version: the reply says which this one is, and no more than that.
            request = None
            if garbage.version is not None:
                self._send(client, Reply(Status.REFUSED, 0))
        if request is None:
            return
        needs_id = request.op not in _WITHOUT_ID
        if needs_id and not is_id(request.object_id):
            reply: Reply | None = Reply(Status.REFUSED, request.number)
        else:
            pieces = [bytes(request.data)] if request.data else []
            reply = self._handlers[request.op](client, request, pieces + _kept(frames[1:]))
        if reply is not None:
            self._send(client, reply)

    def resume(self) -> bool:
        """As `Reads.resume`."""
        return self._reads.resume()

    def tick(self) -> None:
        """Forget what clients left that died. To be called once a second or so."""
        self._table.sweep()
        horizon = time.monotonic() - _FORGET_SECONDS
        self._reads.forget(horizon)
        for (client, number), upload in list(self._uploads.items()):
            if upload.seen < horizon:
                self._abandon(client, number)
        for (client, number), wait in list(self._waits.items()):
            if wait.seen < horizon:
                self._forget_wait(client, number)
        for client, seen in list(self._dependants.items()):
            if seen < horizon:
                del self._dependants[client]

    def say_farewell(self) -> None:
        """Tell those that wait, and the processes of other nodes, that this one ends."""
        recent = time.monotonic() - _FAREWELL_SECONDS
        for client, number in self._waits:
            self._send(client, Reply(Status.ENDING, number))
        for client, seen in self._dependants.items():
            if seen > recent:
                self._send(client, Reply(Status.ENDING, 0))

    # --- Objects --------------------------------------------------------------

    def _store(self, client: bytes, request: Request, pieces: list[Piece]) -> Reply:
        nbytes = sum(map(len, pieces))
        try:
            with self._table.reserve(nbytes) as room:
                return self._finish(request, request.op is Op.REPLACE, pieces, room)
        except MediumFullError:
            return self._full(request)

    def _begin(self, client: bytes, request: Request, pieces: list[Piece]) -> Reply:
        self._abandon(client, request.number)
        there = self._table.find(request.object_id) is not None
        # So that no bytes travel in vain; asked again when they have all come.
        if there and request.op is Op.BEGIN_PUT:
            return Reply(Status.TAKEN, request.number)
        if not there and request.op is Op.BEGIN_REPLACE:
            return Reply(Status.ABSENT, request.number)
        try:
            room = self._table.reserve(request.a)
        except MediumFullError:
            return self._full(request)
        self._uploads[client, request.number] = _Upload(request, room)
        return Reply(Status.OK, request.number)

    def _chunk(self, client: bytes, request: Request, pieces: list[Piece]) -> Reply:
        upload = self._uploads.get((client, request.number))
        if upload is None:
            return Reply(Status.FORGOTTEN, request.number)
        nbytes = sum(map(len, pieces))
        if not 0 < nbytes <= upload.missing:
            self._abandon(client, request.number)
            return Reply(Status.REFUSED, request.number)
        upload.pieces += pieces
        upload.missing -= nbytes
        upload.seen = time.monotonic()
        if upload.missing:
            return Reply(Status.OK, request.number)
        del self._uploads[client, request.number]
        replace = upload.request.op is Op.BEGIN_REPLACE
        with upload.room as room:
            return self._finish(upload.request, replace, upload.pieces, room)

    def _finish(
        self, request: Request, replace: bool, pieces: list[Piece], room: Room  # noqa: FBT001
    ) -> Reply:
        try:
            if replace:
                self._table.replace(request.object_id, tuple(pieces), room)
            else:
                self._table.set(request.object_id, tuple(pieces), room, ttl=request.ttl)
        except KeyAlreadySetError:
            return Reply(Status.TAKEN, request.number)
        except KeyNotSetError:
            return Reply(Status.ABSENT, request.number)
        return Reply(Status.OK, request.number)

    def _abandon(self, client: bytes, number: int) -> None:
        upload = self._uploads.pop((client, number), None)
        if upload is not None:
            upload.room.release()

    def _full(self, request: Request) -> Reply:
        totals = self._table.totals()
        return Reply(Status.FULL, request.number, totals.nbytes, totals.max_nbytes)

    def _get(self, client: bytes, request: Request, pieces: list[Piece]) -> None:
        self._reads.ask(client, request)

    def _find(self, client: bytes, request: Request, pieces: list[Piece]) -> Reply:
        entry = self._table.find(request.object_id)
        if entry is None:
            return Reply(Status.ABSENT, request.number)
        return Reply(Status.OK, request.number, 0, entry.generation)

    def _evict(self, client: bytes, request: Request, pieces: list[Piece]) -> Reply:
        self._table.evict(request.object_id)
        return Reply(Status.OK, request.number)

    def _touch(self, client: bytes, request: Request, pieces: list[Piece]) -> Reply:
        there = self._table.touch(request.object_id, request.ttl)
        return Reply(Status.OK if there else Status.ABSENT, request.number)

    # --- Waits ----------------------------------------------------------------

    def _wait(self, client: bytes, request: Request, pieces: list[Piece]) -> Reply | None:
        def answer() -> None:
            self._waits.pop((client, request.number), None)
            self._send(client, Reply(Status.OK, request.number))

        self._forget_wait(client, request.number)
        if self._table.watch(request.object_id, answer):
            return Reply(Status.OK, request.number)
        wait = _Wait(request.object_id, answer, time.monotonic())
        self._waits[client, request.number] = wait
        return None

    def _unwait(self, client: bytes, request: Request, pieces: list[Piece]) -> None:
        self._forget_wait(client, request.a)

    def _forget_wait(self, client: bytes, number: int) -> None:
        wait = self._waits.pop((client, number), None)
        if wait is not None:
            self._table.unwatch(wait.object_id, wait.answer)

    # --- The process ------------------------------------------------------------

    def _hello(self, client: bytes, request: Request, pieces: list[Piece]) -> Reply:
        if request.object_id not in self._names:
            return Reply(Status.REFUSED, request.number)
        if request.a:
            self._dependants[client] = time.monotonic()
        return Reply(Status.OK, request.number, data=self._where)

    def _released(self, client: bytes, request: Request, pieces: list[Piece]) -> Reply:
        self.released = True
        return Reply(Status.OK, request.number)


_WITHOUT_ID = frozenset({Op.CHUNK, Op.UNWAIT, Op.RELEASED})


def _kept(frames: Sequence[zmq.Frame]) -> list[Piece]:
    """The frames as they are kept: a small one would keep all that was received with it."""
    return [
        frame if len(frame) > INLINE_NBYTES else frame.bytes for frame in frames if len(frame)
    ]
