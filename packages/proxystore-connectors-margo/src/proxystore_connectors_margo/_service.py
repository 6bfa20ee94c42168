"""What a store process does with requests."""

from __future__ import annotations

import heapq
import itertools
import queue
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from proxystore.connectors.keys import is_id
from proxystore.errors import KeyAlreadySetError, KeyNotSetError, MediumFullError
from proxystore.serving import Entry, ObjectTable, Room
from proxystore_connectors_margo._library import Library
from proxystore_connectors_margo._memory import allocated
from proxystore_connectors_margo._messages import VERSION, Op, Word

__all__ = ["Service", "Stored"]

_NO_MEMORY = "The node has no memory left for it."
_MAX_WAIT_SECONDS = 60.0
_OPS = {op.value: op for op in Op}


class Stored(NamedTuple):
    """An object as a store process keeps it."""

    memory: memoryview
    # Any: Margo's handle of that memory, registered once for all transfers.
    bulk: Any


class _RefusalError(Exception):
    """A request that cannot be served; `answer` says why."""

    def __init__(self, word: Word, *rest: object) -> None:
        self.answer = (word, *rest)
        super().__init__(word)


# Any in this class: handles and arguments come from Margo, and may be anything.
class Service:
    """Serves one table of objects.

    Margo's threads only queue requests; one thread works through them. Handlers that
    move bytes would yield to each other in the middle of Python (Margo's threads know
    nothing of the interpreter lock), and could not run at once anyway.

    Args:
        library: Margo.
        engine: That receives the requests.
        table: What it serves.
        namespace: Whose objects these are.
    """

    def __init__(
        self, library: Library, engine: Any, table: ObjectTable[Stored], namespace: str
    ) -> None:
        self._library, self._engine = library, engine
        self._table, self._namespace = table, namespace
        self._requests: queue.SimpleQueue[tuple[Any, tuple[Any, ...]]] = queue.SimpleQueue()
        self._waits: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    @property
    def has_objects(self) -> bool:
        """Whether there are any."""
        return self._table.totals().objects > 0

    def receive(self, handle: Any, *request: Any, **_: Any) -> None:
        """Queue a request. Called by Margo, in its threads."""
        self._requests.put((handle, request))

    def work(self, seconds: float) -> bool:
        """Serve one request, or return after ``seconds``; whether the owner said that it closed."""
        self._table.sweep()
        self._end_waits()
        if self._waits:
            seconds = min(seconds, max(0.0, self._waits[0][0] - time.monotonic()))
        try:
            handle, request = self._requests.get(timeout=seconds)
        except queue.Empty:
            return False
        try:
            answer = self._served(handle, *self._parsed(request))
        except _RefusalError as refusal:
            answer = refusal.answer
        if answer is not None:
            self._respond(handle, answer)
        return len(request) > 1 and request[1] == Op.CLOSED.value

    def close(self) -> None:
        """Answer who waits, and let go of every object. Before Margo ends, which has to be last."""
        while self._waits:
            self._waits.pop()[-1]()
        self._table.clear()

    def _parsed(self, request: tuple[Any, ...]) -> tuple[Op, str, list[Any]]:
        match request:
            case (int(version), *_) if version != VERSION:
                raise _RefusalError(Word.OTHER_VERSION, VERSION)
            case (int(), str(op), str(object_id), *arguments) if op in _OPS:
                if is_id(object_id):
                    return _OPS[op], object_id, arguments
        raise _RefusalError(Word.FAILED, "this is no request of this protocol")

    def _served(
        self, handle: Any, op: Op, object_id: str, arguments: list[Any]
    ) -> tuple[Any, ...] | None:
        answer: tuple[Any, ...] | None
        match op, arguments:
            case Op.SET, [list(parts), ttl] if _is_ttl(ttl):
                answer = self._set(handle, object_id, parts, ttl)
            case Op.REPLACE, [list(parts)]:
                answer = self._replace(handle, object_id, parts)
            case Op.READ, [bulk, int(offset), int(nbytes), int(total)]:
                answer = self._read(handle, object_id, bulk, offset, nbytes, total)
            case Op.STAT, []:
                entry = self._found(object_id)
                answer = (Word.OK, entry.nbytes, entry.generation)
            case Op.EVICT, []:
                self._table.evict(object_id)
                answer = (Word.OK,)
            case Op.TOUCH, [ttl] if _is_ttl(ttl):
                answer = (Word.OK if self._table.touch(object_id, ttl) else Word.ABSENT,)
            case Op.WAIT, [float(seconds)] if 0 <= seconds <= _MAX_WAIT_SECONDS:
                answer = self._wait(handle, object_id, seconds)
            case ((Op.LIVES | Op.CLOSED), []):
                # Another namespace may listen at an address that one has left.
                answer = (Word.OK if object_id == self._namespace else Word.ABSENT,)
            case _:
                raise _RefusalError(Word.FAILED, f"these are no arguments of {op.value!r}")
        return answer

    def _set(
        self, handle: Any, object_id: str, parts: list[Any], ttl: float | None
    ) -> tuple[Any, ...]:
        if self._table.find(object_id) is not None:
            return (Word.SET_ALREADY,)
        with self._room(parts) as room:
            try:
                self._table.set(object_id, self._pulled(handle, parts, room), room, ttl=ttl)
            except KeyAlreadySetError:
                return (Word.SET_ALREADY,)
        return (Word.OK,)

    def _replace(self, handle: Any, object_id: str, parts: list[Any]) -> tuple[Any, ...]:
        self._found(object_id)
        with self._room(parts) as room:
            try:
                self._table.replace(object_id, self._pulled(handle, parts, room), room)
            except KeyNotSetError:
                return (Word.ABSENT,)
        return (Word.OK,)

    def _room(self, parts: list[Any]) -> Room:
        nbytes = 0
        for part in parts:
            match part:
                case (_, int(size)) if size > 0:
                    nbytes += size
                case _:
                    raise _RefusalError(Word.FAILED, "a part is a bulk handle and its size")
        try:
            return self._table.reserve(nbytes)
        except MediumFullError as full:
            raise _RefusalError(Word.FULL, full.advice) from full

    def _pulled(self, handle: Any, parts: list[Any], room: Room) -> Stored:
        """The object whose parts the caller exposes."""
        try:
            memory = allocated(room.nbytes)
        except MemoryError as exc:
            raise _RefusalError(Word.FULL, _NO_MEMORY) from exc
        if not memory:
            return Stored(memory, None)
        try:
            bulk = self._engine.create_bulk(memory, self._library.read_write)
            at = 0
            for remote, nbytes in parts:
                self._transfer(self._library.pull, handle, remote, 0, bulk, at, nbytes)
                at += nbytes
        except self._library.error as exc:
            raise _RefusalError(Word.FAILED, f"the object did not arrive ({exc})") from exc
        return Stored(memory, bulk)

    def _read(
        self, handle: Any, object_id: str, bulk: Any, offset: int, nbytes: int, total: int
    ) -> tuple[Any, ...]:
        entry = self._found(object_id)
        if entry.nbytes != total:
            return Word.RESIZED, entry.nbytes
        if offset < 0 or nbytes < 0 or offset + nbytes > total:
            raise _RefusalError(Word.FAILED, "the object has no such part")
        if nbytes:
            local = entry.data.bulk
            try:
                self._transfer(self._library.push, handle, bulk, 0, local, offset, nbytes)
            except self._library.error as exc:
                raise _RefusalError(Word.FAILED, f"the object did not arrive ({exc})") from exc
        return Word.OK, entry.generation

    def _transfer(self, op: Any, handle: Any, remote: Any, at: int, *local: Any) -> None:
        try:
            self._engine.transfer(op, handle.get_addr(), remote, at, *local)
        except (AttributeError, TypeError) as exc:
            # The caller sent something else in place of a handle.
            raise _RefusalError(Word.FAILED, f"no bulk handle: {remote!r:.80}") from exc

    def _wait(self, handle: Any, object_id: str, seconds: float) -> tuple[Any, ...] | None:
        def appeared() -> None:
            waiting.pop()
            self._respond(handle, (Word.OK,))

        def ended() -> None:
            self._table.unwatch(object_id, appeared)
            if waiting:
                self._respond(handle, (Word.ABSENT,))

        waiting = [object_id]
        if self._table.watch(object_id, appeared):
            return (Word.OK,)
        heapq.heappush(self._waits, (time.monotonic() + seconds, next(self._numbers), ended))
        return None

    def _end_waits(self) -> None:
        while self._waits and self._waits[0][0] <= time.monotonic():
            _, _, ended = heapq.heappop(self._waits)
            ended()

    def _found(self, object_id: str) -> Entry[Stored]:
        entry = self._table.find(object_id)
        if entry is None:
            raise _RefusalError(Word.ABSENT)
        return entry

    def _respond(self, handle: Any, answer: tuple[Any, ...]) -> None:
        word, *rest = answer
        try:
            handle.respond((word.value, *rest))
        except self._library.error as exc:
            # Who asked is gone: nobody misses the answer.
            print(f"no answer to {word.value!r}: {exc}", flush=True)


def _is_ttl(ttl: Any) -> bool:
    return ttl is None or (isinstance(ttl, (int, float)) and ttl > 0)
