"""RESP, the protocol of Redis, over one socket: commands out of buffers, replies into them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Sequence
from typing import TypeAlias

__all__ = [
    "TAKEN_NBYTES",
    "NotRedisError",
    "Reply",
    "ServerError",
    "Wire",
    "as_text",
    "ask",
    "command",
    "script",
]

Reply: TypeAlias = "int | bytes | ServerError | list[Reply] | None"

TAKEN_NBYTES = 32 * 1024
"""Most bytes that `Wire.take` takes."""
_JOINED_NBYTES = 16 * 1024
_IOV_MAX = 1024
_MAX_LINE = 16 * 1024
_MAX_ITEMS = 1 << 16
_MAX_DEPTH = 4
_CRLF = b"\r\n"
_SIMPLE, _ERROR, _INTEGER, _BULK, _ARRAY = b"+-:$*"


class ServerError(Exception):
    """The server refused a command; the message is its own."""


class NotRedisError(Exception):
    """What came is no reply of a Redis server."""


def command(*arguments: bytes) -> bytes:
    """One command as the server reads it."""
    parts = [b"*%d\r\n" % len(arguments)]
    parts += [b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments]
    return b"".join(parts)


def script(text: str, key: bytes, *arguments: bytes) -> bytes:
    """The command that runs a script on one key."""
    return command(b"EVAL", text.encode(), b"1", key, *arguments)


def as_text(reply: Reply) -> bytes:
    """A reply of bytes, as it is.

    Raises:
        NotRedisError: It is something else.
    """
    if not isinstance(reply, bytes):
        raise NotRedisError(f"a {type(reply).__name__} where bytes were expected")
    return reply


class Wire:
    """A connection, for one thread at a time.

    Reads ahead into a small buffer of its own; the bytes of objects go from the
    socket to where they are wanted, but for the few that were read ahead.

    What sends or receives raises `BlockingIOError` or `TimeoutError` when nothing
    moved for ``timeout`` seconds, another `OSError` when the connection ended, and
    `NotRedisError` when the other side does not speak RESP. None can be used after.

    Args:
        sock: Connected and authenticated; becomes this object's to close.
        timeout: Seconds.
    """

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        self._sock = sock
        # With room for the end of a reply that is as long as may be taken.
        self._buffer = bytearray(TAKEN_NBYTES + len(_CRLF))
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        self._wait_all = 0 if self._is_tls else socket.MSG_WAITALL
        self.pending = 0
        """Replies that were asked for and not yet read."""
        if self._is_tls:
            sock.settimeout(timeout)
        else:
            # By the kernel: Python's own timeout polls before each call, and so needs two.
            sock.settimeout(None)
            limit = struct.pack("@ll", int(timeout), int(timeout % 1 * 1e6))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def close(self) -> None:
        """End the connection. In a forked child, the parent's stays as it is."""
        with contextlib.suppress(OSError):
            self._sock.close()

    def fileno(self) -> int:
        """The descriptor of the socket, to poll."""
        return self._sock.fileno()

    @property
    def is_at_rest(self) -> bool:
        """Whether every reply was read that was asked for, and nothing else came."""
        return not self.pending and self._start == self._end

    @property
    def has_buffered(self) -> bool:
        """Whether bytes have come that polling the socket would not show."""
        return self._start < self._end or (
            isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0
        )

    # --- Sending --------------------------------------------------------------

    def send(self, buffers: Sequence[bytes | memoryview], replies: int) -> None:
        """Send ``buffers`` one after the other, to which ``replies`` will come."""
        self.pending += replies
        if sum(map(len, buffers)) <= _JOINED_NBYTES:
            self._sock.sendall(b"".join(buffers))
        elif self._is_tls:
            for buffer in buffers:
                self._sock.sendall(buffer)
        else:
            self._scatter(buffers)

    def _scatter(self, buffers: Sequence[bytes | memoryview]) -> None:
        left: list[bytes | memoryview] = list(buffers)
        at = 0
        while at < len(left):
            sent = self._sock.sendmsg(left[at : at + _IOV_MAX])
            while at < len(left) and sent >= len(left[at]):
                sent -= len(left[at])
                at += 1
            if sent:
                left[at] = memoryview(left[at])[sent:]

    # --- Receiving ------------------------------------------------------------

    def reply(self) -> Reply:
        """The next reply, whole. For small ones."""
        found = self._reply(_MAX_DEPTH)
        self.pending -= 1
        return found

    def replies(self) -> list[Reply]:
        """All that are pending.

        Raises:
            ServerError: One of them is an error; the first that is. All were read.
        """
        found = [self._reply(_MAX_DEPTH) for _ in range(self.pending)]
        self.pending = 0
        for reply in found:
            if isinstance(reply, ServerError):
                raise reply
        return found

    def bulk(self) -> int:
        """Begin to read a reply of bytes: their number, to be read with `take` or `fill`.

        Close with `end`.

        Raises:
            ServerError: The reply is an error.
        """
        kind, rest = self._line()
        nbytes = _integer(rest) if kind == _BULK else -1
        if nbytes >= 0:
            return nbytes
        if kind == _ERROR:
            self.pending -= 1
            raise ServerError(rest.decode("utf-8", "replace"))
        raise NotRedisError(f"a reply that begins with {chr(kind)!r} where bytes were expected")

    def end(self) -> None:
        """Read what follows the bytes of a reply that `bulk` began."""
        if self.take(2) != _CRLF:
            raise NotRedisError("a reply longer than it says")
        self.pending -= 1

    def take(self, nbytes: int) -> bytearray:
        """The next bytes, at most `TAKEN_NBYTES`, which become the caller's."""
        while self._end - self._start < nbytes:
            self._read_ahead()
        start = self._start
        self._start += nbytes
        return self._buffer[start : self._start]

    def fill(self, view: memoryview) -> None:
        """Read the next bytes into all of ``view``."""
        have = min(self._end - self._start, len(view))
        view[:have] = self._view[self._start : self._start + have]
        self._start += have
        while have < len(view):
            rest = view[have:]
            have += _present(self._sock.recv_into(rest, len(rest), self._wait_all))

    def _read_ahead(self) -> None:
        left = self._end - self._start
        if self._start:
            self._buffer[:left] = self._buffer[self._start : self._end]
            self._start, self._end = 0, left
        into = self._view[left:] if left else self._buffer
        self._end += _present(self._sock.recv_into(into))

    def _line(self) -> tuple[int, bytes]:
        """The first byte of the next line, which says what it is, and the rest of it."""
        while (at := self._buffer.find(_CRLF, self._start, self._end)) < 0:
            if self._end - self._start >= _MAX_LINE:
                raise NotRedisError("a line without an end")
            self._read_ahead()
        start = self._start
        self._start = at + 2
        return self._buffer[start], bytes(self._view[start + 1 : at])

    def _reply(self, depth: int) -> Reply:
        kind, rest = self._line()
        if kind == _SIMPLE:
            return rest
        if kind == _BULK:
            return self._small_bulk(_integer(rest))
        if kind == _INTEGER:
            return _integer(rest)
        if kind == _ERROR:
            return ServerError(rest.decode("utf-8", "replace"))
        if kind == _ARRAY and depth:
            return self._items(_integer(rest), depth - 1)
        raise NotRedisError(f"a reply that begins with {chr(kind)!r}")

    def _items(self, count: int, depth: int) -> Reply:
        if count > _MAX_ITEMS:
            raise NotRedisError(f"a reply of {count} items")
        return None if count < 0 else [self._reply(depth) for _ in range(count)]

    def _small_bulk(self, nbytes: int) -> bytes | None:
        if nbytes < 0:
            return None
        if nbytes > TAKEN_NBYTES:
            raise NotRedisError(f"a reply of {nbytes} bytes where a small one was expected")
        while self._end - self._start < nbytes + 2:
            self._read_ahead()
        start, end = self._start, self._start + nbytes
        self._start = end + 2
        if not self._buffer.startswith(_CRLF, end):
            raise NotRedisError("a reply longer than it says")
        return bytes(self._view[start:end])


def ask(wire: Wire, request: bytes) -> Reply:
    """The reply to one command.

    Raises:
        ServerError: It is an error.
    """
    wire.send((request,), 1)
    return wire.replies()[0]


def _present(nbytes: int) -> int:
    if not nbytes:
        raise ConnectionResetError("the server closed the connection")
    return nbytes


def _integer(digits: bytes) -> int:
    try:
        return int(digits)
    except ValueError:
        raise NotRedisError(f"{digits[:20]!r} where a number was expected") from None
