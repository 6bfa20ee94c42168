"""What client and store process say to each other: fixed headers, and never a pickle.

A request is one frame, a header, an identifier and a small payload, and one
frame for a payload that is not small. A reply likewise. The first five bytes
of both stay what they are in every version, so that two versions can tell.
"""

from __future__ import annotations

import enum
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from proxystore.payload import BytesLike, Payload, as_buffers

__all__ = [
    "AHEAD",
    "CHUNK_NBYTES",
    "INLINE_NBYTES",
    "PROTOCOL",
    "GarbageError",
    "Op",
    "Reply",
    "Request",
    "Status",
    "is_where",
    "pieces_of",
    "where_of",
]

PROTOCOL = 2

INLINE_NBYTES = 16 << 10
"""Up to which a payload is copied behind its header: a frame of its own costs more."""
CHUNK_NBYTES = 2 << 20
"""How much of an object travels in one message. Smaller is slower (1 MB: by half at
100 MB); larger leaves the caches and holds more memory on its way."""

AHEAD = 4
"""How many requests of a batch, or parts of an object, are on their way at once."""

# With % and _, as in fe80::1%eth_0.
_matches = re.compile(r"[A-Za-z0-9_-]{8}(@[\[\]A-Za-z0-9.:%_-]{3,255})?").fullmatch
_MAGIC = b"PXZ\x93"
_PREFIX = _MAGIC + bytes([PROTOCOL])
_REQUEST = struct.Struct("<5sBBxIQQd")
_REPLY = struct.Struct("<5sBxxIQQ")


class Op(enum.IntEnum):
    """What a client can ask."""

    HELLO = 0
    """Answer with where you are, as keys say it. From other nodes: and say when you end."""
    PUT = 1
    """Make an object from the payload that comes along."""
    REPLACE = 2
    BEGIN_PUT = 3
    """Make room for an object of `a` bytes; chunks follow."""
    BEGIN_REPLACE = 4
    CHUNK = 5
    """The next bytes of the object that the same number began."""
    GET = 6
    """Up to `b` bytes from `a`, and no more than `CHUNK_NBYTES`."""
    FIND = 7
    """The generation."""
    EVICT = 8
    TOUCH = 9
    WAIT = 10
    """Answer when there is an object. Asked again, it is still wanted."""
    UNWAIT = 11
    """Forget the wait of number `a`."""
    RELEASED = 12
    """See whether the owner is still there."""


class Status(enum.IntEnum):
    """What a store process can answer."""

    OK = 0
    """To a read: of the `a` bytes that are left, as many as asked for, of generation `b`."""
    ABSENT = 1
    TAKEN = 2
    """There is an object already."""
    FULL = 3
    """`a` of `b` bytes are in use."""
    FORGOTTEN = 4
    """A chunk of an object that was not begun, or too long ago."""
    REFUSED = 5
    """The request makes no sense."""
    ENDING = 6


class GarbageError(ValueError):
    """Bytes that are no message of ours, or of a version that is not ours.

    Args:
        version: What version it claims to be, if it is ours at all.
    """

    def __init__(self, version: int | None) -> None:
        super().__init__(version)
        self.version = version


class Request(NamedTuple):
    """What a client asks."""

    op: Op
    number: int
    """Comes back in the reply."""
    object_id: str = ""
    a: int = 0
    b: int = 0
    ttl: float | None = None
    data: BytesLike = b""

    def encode(self) -> bytes:
        """One frame."""
        name = self.object_id.encode("ascii")
        head = _REQUEST.pack(
            _PREFIX, self.op, len(name), self.number, self.a, self.b, self.ttl or 0.0
        )
        return b"".join((head, name, self.data))

    @classmethod
    def parse(cls, frame: memoryview) -> Request:
        """What `encode` gave.

        Raises:
            GarbageError: It is something else.
        """
        if len(frame) < _REQUEST.size:
            raise _garbage(frame)
        prefix, op, length, number, a, b, ttl = _REQUEST.unpack_from(frame)
        end = _REQUEST.size + length
        if prefix != _PREFIX or op not in _OPS or end > len(frame):
            raise _garbage(frame)
        try:
            name = str(frame[_REQUEST.size : end], "ascii")
        except UnicodeDecodeError:
            raise _garbage(frame) from None
        # Not "<= 0": a NaN compares false with everything.
        lives = ttl if ttl > 0 else None
        return cls(_OPS[op], number, name, a, b, lives, frame[end:])


class Reply(NamedTuple):
    """What a store process answers."""

    status: Status
    number: int
    a: int = 0
    b: int = 0
    data: BytesLike = b""

    def encode(self) -> bytes:
        """One frame."""
        head = _REPLY.pack(_PREFIX, self.status, self.number, self.a, self.b)
        return b"".join((head, self.data)) if self.data else head

    @classmethod
    def parse(cls, frame: memoryview) -> Reply:
        """What `encode` gave.

        Raises:
            GarbageError: It is something else.
        """
        if len(frame) < _REPLY.size:
            raise _garbage(frame)
        prefix, status, number, a, b = _REPLY.unpack_from(frame)
        if prefix != _PREFIX or status not in _STATUSES:
            raise _garbage(frame)
        return cls(_STATUSES[status], number, a, b, frame[_REPLY.size :])


# 0.1 us; calling the enum costs 0.4.
_OPS = {int(op): op for op in Op}
_STATUSES = {int(status): status for status in Status}


def _garbage(frame: memoryview) -> GarbageError:
    is_ours = len(frame) >= len(_PREFIX) and frame[: len(_MAGIC)] == _MAGIC
    return GarbageError(frame[len(_MAGIC)] if is_ours else None)


def where_of(instance: str, address: str) -> str:
    """What keys say of a store process: ``instance``, or ``instance@host:port``."""
    return f"{instance}@{address}" if address else instance


def is_where(text: str) -> bool:
    """Whether `where_of` can have given ``text``."""
    return _matches(text) is not None


def pieces_of(payload: Payload) -> Iterator[BytesLike]:
    """The payload in pieces of at most `CHUNK_NBYTES`, small neighbours joined."""
    small: list[memoryview] = []
    nbytes = 0
    for view in as_buffers(payload):
        if len(view) > INLINE_NBYTES or nbytes + len(view) > CHUNK_NBYTES:
            if nbytes:
                yield b"".join(small)
            small, nbytes = [], 0
        if len(view) > INLINE_NBYTES:
            for start in range(0, len(view), CHUNK_NBYTES):
                yield view[start : start + CHUNK_NBYTES]
        else:
            small.append(view)
            nbytes += len(view)
    if nbytes:
        yield b"".join(small)
