"""How objects lie in a DAOS dictionary.

Each object has a head under its identifier: a version, its size, and its bytes
if they are few. The bytes of a larger one are under ``identifier.0``,
``identifier.1`` and so on, each of `CHUNK_NBYTES` but the last. No value is
empty: DAOS takes an empty value for the wish to remove the key.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from proxystore.errors import CorruptObjectError
from proxystore.payload import Payload, as_buffers

__all__ = [
    "CHUNK_NBYTES",
    "HEAD_NBYTES",
    "INLINE_NBYTES",
    "Head",
    "chunk_names",
    "chunks_of",
    "head_of",
]

CHUNK_NBYTES = 4 << 20
"""Of a value. pydaos holds each value it reads twice, so one of a gigabyte would cost two."""

INLINE_NBYTES = 16 << 10
"""Up to which an object is in its head, which every `exists` and `evict` reads."""

_HEAD = struct.Struct("<BQ")
_VERSION = 1

HEAD_NBYTES = _HEAD.size + INLINE_NBYTES
"""Of the largest head."""


class Head(NamedTuple):
    """What the value under an object's identifier says."""

    nbytes: int
    inline: memoryview | None
    """The object, unless it is in chunks."""

    @property
    def chunks(self) -> int:
        """How many chunks the object has."""
        return 0 if self.inline is not None else -(-self.nbytes // CHUNK_NBYTES)

    def chunk_nbytes(self, number: int) -> int:
        """Bytes of chunk ``number``: of the last one, those that are left."""
        return min(CHUNK_NBYTES, self.nbytes - number * CHUNK_NBYTES)

    @classmethod
    def parse(cls, value: bytes, name: str) -> Head:
        """The head in ``value``.

        Raises:
            CorruptObjectError: No version of this package that this one knows wrote it.
        """
        if len(value) < _HEAD.size or value[0] != _VERSION:
            raise CorruptObjectError(
                f"the value of {name!r} does not begin with format version {_VERSION}",
                "Read it with the version of proxystore-connectors-daos that wrote it.",
            )
        _, nbytes = _HEAD.unpack_from(value)
        inline = memoryview(value)[_HEAD.size :]
        if nbytes > INLINE_NBYTES and not inline:
            return cls(nbytes, None)
        if nbytes != len(inline):
            found = f"{name!r} has {len(inline)} bytes where its head says {nbytes}"
            raise CorruptObjectError(found)
        return cls(nbytes, inline)


def head_of(payload: Payload) -> bytes:
    """The head to write for ``payload``, with its bytes if they are few."""
    buffers = as_buffers(payload)
    head = _HEAD.pack(_VERSION, buffers.nbytes)
    return head if buffers.nbytes > INLINE_NBYTES else b"".join([head, *buffers])


def chunk_names(name: str, start: int, stop: int) -> list[str]:
    """The names of an object's chunks from ``start`` to before ``stop``."""
    return [f"{name}.{number}" for number in range(start, stop)]


def chunks_of(payload: Payload) -> Iterator[bytes]:
    """Copies of the payload's bytes, `CHUNK_NBYTES` at a time."""
    parts: list[memoryview] = []
    room = CHUNK_NBYTES
    for view in as_buffers(payload):
        while len(view) >= room:
            yield b"".join([*parts, view[:room]])
            parts, view, room = [], view[room:], CHUNK_NBYTES
        parts.append(view)
        room -= len(view)
    if room < CHUNK_NBYTES:
        yield b"".join(parts)
