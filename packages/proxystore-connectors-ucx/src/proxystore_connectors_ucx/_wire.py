"""What clients and store processes say to each other: small frames of a fixed form.

Frames travel on a socket, which also tells when the other side is gone. They carry
objects up to `INLINE_NBYTES`; larger ones travel by UCX, and a frame announces them.
"""

from __future__ import annotations

import enum
import math
import socket
import struct
from collections.abc import Iterable, Sized
from hashlib import blake2b
from typing import NamedTuple

from proxystore.connectors.keys import is_id
from proxystore.payload import BytesLike

__all__ = [
    "INLINE_NBYTES",
    "MAX_PIECES",
    "VERSION",
    "WHOLE",
    "Code",
    "Frame",
    "Link",
    "OtherVersionError",
    "WireError",
    "checked_address",
    "lengths_of",
    "pack_address",
    "pack_lengths",
]

VERSION = 1
INLINE_NBYTES = 1 << 20
"""Up to here the socket is quicker than UCX, which takes more round trips (ADR 0004)."""
MAX_PIECES = 64
WHOLE = (1 << 64) - 1
"""As the length of a range: up to the end of the object."""

_MAGIC = b"PXuc"
_HEADER = struct.Struct("<4sBBBxIQQd")
_BUFFER_NBYTES = 1 << 14
_DIGEST_NBYTES = 16


class Code(enum.IntEnum):
    """What a frame asks or answers."""

    SET = 1
    REPLACE = 2
    GET = 3
    FIND = 4
    EVICT = 5
    TOUCH = 6
    WAIT = 7
    CHANNEL = 8
    STAY = 9
    LEAVE = 10

    DONE = 64
    ABSENT = 65
    GO = 66
    CHANNEL_FIRST = 67
    ALREADY_SET = 68
    NOT_SET = 69
    FULL = 70
    FAILED = 71


class WireError(Exception):
    """The other side sent what is no frame."""


class OtherVersionError(WireError):
    """The other side speaks another version of this protocol."""

    def __init__(self, version: int) -> None:
        self.version = version
        super().__init__(f"it speaks version {version} of its protocol, and this process {VERSION}")


class Frame(NamedTuple):
    """One question or answer."""

    code: Code
    object_id: str = ""
    nbytes: int = 0
    """Size of the object or range that the frame is about."""
    number: int = 0
    """Offset, generation or count of pieces."""
    seconds: float = math.inf
    """Time to live or to wait; infinite for neither."""
    body: BytesLike = b""
    """The object itself, or what else goes with the frame."""


class Link:
    """Frames on a connected socket. For one thread at a time; closes nothing."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = memoryview(bytearray(_BUFFER_NBYTES))
        self._start = self._end = 0

    def send(self, frame: Frame, buffers: Iterable[BytesLike] = ()) -> None:
        """Send ``frame`` with ``buffers``, or else its body.

        Raises:
            OSError: The connection is gone, or took longer than the socket's timeout.
        """
        parts = [memoryview(part) for part in (tuple(buffers) or (frame.body,))]
        object_id = frame.object_id.encode("ascii")
        header = _HEADER.pack(
            *(_MAGIC, VERSION, frame.code, len(object_id), sum(map(len, parts))),
            *(frame.nbytes, frame.number, frame.seconds),
        )
        message: list[BytesLike] = [header, object_id, *parts]
        sent = self._sock.sendmsg(message)
        for part in message:
            if sent < len(part):
                self._sock.sendall(memoryview(part)[sent:])
            sent = max(0, sent - len(part))

    def receive(self) -> Frame:
        """The next frame.

        Raises:
            EOFError: The other side closed the connection.
            OSError: The connection is gone, or took longer than the socket's timeout.
            OtherVersionError: The other side speaks another version.
            WireError: What came is no frame. Nothing more can be read.
        """
        header = self._take(_HEADER.size)
        magic, version, code, n_id, n_body, nbytes, number, seconds = _HEADER.unpack(header)
        if magic != _MAGIC:
            raise WireError("it does not speak this protocol")
        if version != VERSION:
            raise OtherVersionError(version)
        if n_body > INLINE_NBYTES or math.isnan(seconds):
            raise WireError("it sent a frame with impossible lengths")
        object_id = bytes(self._take(n_id)).decode("ascii", "replace")
        if object_id and not is_id(object_id):
            raise WireError("it sent a malformed identifier")
        try:
            code = Code(code)
        except ValueError:
            raise WireError(f"it sent a frame of unknown kind {code}") from None
        return Frame(code, object_id, nbytes, number, seconds, self._body(n_body))

    def _take(self, nbytes: int) -> memoryview:
        while self._end - self._start < nbytes:
            if self._start:
                rest = bytes(self._buffer[self._start : self._end])
                self._start, self._end = 0, len(rest)
                self._buffer[: len(rest)] = rest
            self._end += self._received(self._buffer[self._end :])
        start = self._start
        self._start += nbytes
        return self._buffer[start : self._start]

    def _body(self, nbytes: int) -> bytearray:
        body = bytearray(nbytes)
        filled = min(nbytes, self._end - self._start)
        body[:filled] = self._take(filled)
        # Large ones straight to where they stay.
        with memoryview(body) as view:
            while filled < nbytes:
                filled += self._received(view[filled:])
        return body

    def _received(self, memory: memoryview) -> int:
        received = self._sock.recv_into(memory)
        if not received:
            raise EOFError("the connection was closed")
        return received


def pack_lengths(buffers: Iterable[Sized]) -> bytes:
    """The lengths of the pieces in which an object is about to travel, as a body."""
    return b"".join(len(buffer).to_bytes(8, "little") for buffer in buffers)


def lengths_of(frame: Frame) -> list[int]:
    """The lengths of the pieces, as `pack_lengths` wrote them.

    Raises:
        WireError: They are too many, or do not add up to the object.
    """
    body = frame.body
    lengths = [int.from_bytes(body[i : i + 8], "little") for i in range(0, len(body), 8)]
    if len(body) % 8 or not 0 < len(lengths) <= MAX_PIECES or sum(lengths) != frame.nbytes:
        raise WireError("it announced pieces that are not the object")
    return lengths


def pack_address(address: bytes) -> bytes:
    """The address of a UCX worker, as a body that `checked_address` reads."""
    return _digest(address) + address


def checked_address(body: BytesLike) -> bytes:
    """The address in ``body``, as it was packed.

    Raises:
        WireError: It is damaged. UCX must not see it, for it ends the process or
            never returns.
    """
    address = bytes(body[_DIGEST_NBYTES:])
    if bytes(body[:_DIGEST_NBYTES]) != _digest(address):
        raise WireError("it sent a damaged address")
    return address


def _digest(address: bytes) -> bytes:
    return blake2b(address, digest_size=_DIGEST_NBYTES, person=b"ucx address").digest()
