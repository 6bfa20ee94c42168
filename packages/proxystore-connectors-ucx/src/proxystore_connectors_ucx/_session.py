"""`Session`: one client's questions to a store process, answered one after the other."""

from __future__ import annotations

import math
import os
import select
import socket
import time
from collections.abc import Callable
from typing import Protocol, TypeAlias

from proxystore.errors import (
    ConnectorUnavailableError,
    KeyAlreadySetError,
    KeyNotSetError,
    MediumFullError,
)
from proxystore.serving import ObjectTable
from proxystore_connectors_ucx._channel import Channel, ChannelError, NoWayError
from proxystore_connectors_ucx._memory import cut
from proxystore_connectors_ucx._options import LONGEST_S
from proxystore_connectors_ucx._pages import Pages
from proxystore_connectors_ucx._route import Route
from proxystore_connectors_ucx._wire import (
    INLINE_NBYTES,
    WHOLE,
    Code,
    Frame,
    Link,
    WireError,
    checked_address,
    lengths_of,
    pack_address,
)

__all__ = ["Host", "Session", "Table"]

Table: TypeAlias = ObjectTable[memoryview]

_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR
_TAG_NBYTES = 8


class Host(Protocol):
    """What a session needs of the store process around it."""

    def leave(self) -> None:
        """A client says that the owner has let go."""
        ...

    def stay(self, sock: socket.socket) -> None:
        """The store process of another node wants to hear when this one ends."""
        ...


class Session:
    """Answers the frames of one connection until it ends, in a thread of its own.

    Whatever the client does, it happens to this connection alone.

    Args:
        sock: Connected, and authenticated if it came from another node.
        table: The objects.
        pages: Where large ones are received.
        route: How UCX goes to the client.
        host: The store process.
    """

    def __init__(
        self,
        sock: socket.socket,
        table: Table,
        pages: Pages,
        route: Route,
        host: Host,
    ) -> None:
        self._sock, self._table, self._pages = sock, table, pages
        self._route, self._host = route, host
        self._link = Link(sock)
        self._channel: Channel | None = None
        self._answers: dict[Code, Callable[[Frame], Frame | None]] = {
            Code.SET: self._set,
            Code.REPLACE: self._replace,
            Code.GET: self._get,
            Code.FIND: self._find,
            Code.EVICT: self._evict,
            Code.TOUCH: self._touch,
            Code.WAIT: self._wait,
            Code.CHANNEL: self._open_channel,
            Code.STAY: self._stay,
            Code.LEAVE: self._left,
        }

    def serve(self) -> None:
        """Answer until the client goes, or says something that cannot be answered."""
        try:
            while True:
                self._answer_next()
        except (EOFError, OSError, WireError, ChannelError):
            # It went, or is not one of ours: what it had begun leaves nothing behind.
            return
        finally:
            # In this order: who sees the connection end may free what the channel read.
            if self._channel is not None:
                self._channel.close()
            self._sock.close()

    def _answer_next(self) -> None:
        question = self._link.receive()
        method = self._answers.get(question.code)
        if method is None:
            raise WireError(f"a client does not ask {question.code.name}")
        answer = method(question)
        if answer is not None:
            self._link.send(answer)

    # --- Writing --------------------------------------------------------------

    def _set(self, question: Frame) -> Frame:
        # Before the bytes come; asked again when they are here.
        if self._table.find(question.object_id) is not None:
            return Frame(Code.ALREADY_SET)
        return self._write(question)

    def _replace(self, question: Frame) -> Frame:
        if self._table.find(question.object_id) is None:
            return Frame(Code.NOT_SET)
        return self._write(question)

    def _write(self, question: Frame) -> Frame:
        ttl = None if math.isinf(question.seconds) else question.seconds
        if (ttl is not None and ttl <= 0) or not question.object_id:
            raise WireError("it sent a time to live or an identifier that cannot be")
        try:
            with self._table.reserve(question.nbytes) as room:
                totals = self._table.totals()
                # What is kept for the next object is in nobody's way.
                self._pages.trim(totals.max_nbytes - totals.nbytes)
                data = self._received(question)
                if question.code is Code.SET:
                    self._table.set(question.object_id, data, room, ttl=ttl)
                else:
                    self._table.replace(question.object_id, data, room)
        except KeyAlreadySetError:
            return Frame(Code.ALREADY_SET)
        except KeyNotSetError:
            return Frame(Code.NOT_SET)
        except MediumFullError as exc:
            return Frame(Code.FULL, body=exc.advice.encode())
        except MemoryError:
            return Frame(Code.FULL, body=b"The node has no more memory. Evict objects.")
        return Frame(Code.DONE)

    def _received(self, question: Frame) -> memoryview:
        if question.number == 0:
            if len(question.body) != question.nbytes:
                raise WireError("it sent an object of another size than it said")
            return memoryview(question.body)
        lengths = lengths_of(question)
        channel = self._require_channel()
        memory = self._pages.take(question.nbytes)
        self._link.send(Frame(Code.GO))
        # No deadline: a client that is slow may still write here, so only its end frees
        # the memory. It holds room that it had to reserve.
        channel.receive(cut(memory, lengths), None)
        return memory

    # --- Reading --------------------------------------------------------------

    def _get(self, question: Frame) -> Frame | None:
        entry = self._table.find(question.object_id)
        if entry is None:
            return Frame(Code.ABSENT)
        if question.number == 0 and question.nbytes == WHOLE:
            data = entry.data
        else:
            data = entry.data[question.number : question.number + question.nbytes]
        if len(data) <= INLINE_NBYTES:
            return Frame(Code.DONE, nbytes=len(data), number=entry.generation, body=data)
        if self._channel is None:
            return Frame(Code.CHANNEL_FIRST)
        self._link.send(Frame(Code.GO, nbytes=len(data), number=entry.generation))
        # No deadline, for the same reason: a slow client may still read. Nor an answer
        # after it: who has all bytes knows that it has.
        self._channel.send([data], None)
        return None

    def _find(self, question: Frame) -> Frame:
        entry = self._table.find(question.object_id)
        if entry is None:
            return Frame(Code.ABSENT)
        return Frame(Code.DONE, nbytes=entry.nbytes, number=entry.generation)

    # --- The rest -------------------------------------------------------------

    def _evict(self, question: Frame) -> Frame:
        self._table.evict(question.object_id)
        return Frame(Code.DONE)

    def _touch(self, question: Frame) -> Frame:
        ttl = None if math.isinf(question.seconds) else question.seconds
        found = self._table.touch(question.object_id, ttl)
        return Frame(Code.DONE if found else Code.ABSENT)

    def _wait(self, question: Frame) -> Frame:
        event = os.eventfd(0, os.EFD_CLOEXEC)

        def watcher() -> None:
            os.eventfd_write(event, 1)

        try:
            found = self._table.watch(question.object_id, watcher) or self._is_told(
                event, question.seconds
            )
        finally:
            self._table.unwatch(question.object_id, watcher)
            os.close(event)
        return Frame(Code.DONE if found else Code.ABSENT)

    def _is_told(self, event: int, seconds: float) -> bool:
        poll = select.poll()
        poll.register(event, select.POLLIN)
        poll.register(self._sock, _GONE)
        deadline = time.monotonic() + seconds
        while True:
            left = max(0.0, deadline - time.monotonic())
            ready = poll.poll(min(left, LONGEST_S) * 1e3)
            if any(fd == self._sock.fileno() for fd, _ in ready):
                raise EOFError("the client went away while it waited")
            if ready or left <= LONGEST_S:
                return bool(ready)

    def _open_channel(self, question: Frame) -> Frame:
        tag = int.from_bytes(question.body[:_TAG_NBYTES], "little")
        address = checked_address(question.body[_TAG_NBYTES:])
        # Loading UCX may take longer than a client waits to hear from a process that lives.
        self._link.send(Frame(Code.GO))
        try:
            channel = Channel(self._sock, self._route)
            channel.connect(address, tag)
        except (ConnectorUnavailableError, NoWayError) as exc:
            return Frame(Code.FAILED, body=str(exc).encode()[:INLINE_NBYTES])
        self._channel = channel
        return Frame(Code.DONE, body=pack_address(channel.address))

    def _stay(self, question: Frame) -> Frame:
        self._host.stay(self._sock)
        return Frame(Code.DONE)

    def _left(self, question: Frame) -> Frame:
        self._host.leave()
        return Frame(Code.DONE)

    def _require_channel(self) -> Channel:
        if self._channel is None:
            raise WireError("it sends by a channel that it did not open")
        return self._channel
