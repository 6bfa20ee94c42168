"""Objects out of the server, straight into the memory that the caller gets."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from proxystore.payload import BytesLike
from proxystore_connectors_redis._layout import GENERATION_AT, HEADER_NBYTES, Header
from proxystore_connectors_redis._wire import TAKEN_NBYTES, Wire, command

__all__ = ["FIRST_NBYTES", "ChangedError", "Found", "read", "read_all"]

# The server makes a copy of what it answers. In pieces of 1 MB, that copy is in its caches and
# in memory it has used before: 100 MB come in half the time.
_PIECE_NBYTES = 1 << 20
FIRST_NBYTES = _PIECE_NBYTES + (1 << 16)
"""Most bytes of an object that come with the first request."""
_FROM_THE_FIRST = b"\r\n$1\r\n0\r\n$7\r\n%d\r\n" % (HEADER_NBYTES + FIRST_NBYTES - 1)
_AHEAD = 2
_BATCH = 32
# Below, memory that was used before is as fast; above, the system gives it anew each time,
# in pages of 4 KB unless it is asked: 100 MB then take 49 ms to touch, in place of 13.
_HUGE_NBYTES = 4 << 20


class ChangedError(Exception):
    """The object was replaced or removed while it was being read: to be read again."""


class _Piece(NamedTuple):
    name: bytes
    start: int
    view: memoryview


class Found(NamedTuple):
    """An object, or part of it."""

    header: Header
    data: BytesLike
    have: int
    """How many bytes of `data` have come."""


def read(
    wire: Wire, name: bytes, where: str, offset: int = 0, length: int | None = None, *, whole: bool
) -> Found | None:
    """The object ``name``, or part of it, in private memory; `None` if there is none.

    Args:
        wire: Free for use.
        name: Of the object's value.
        where: The server, for messages.
        offset: Where the part begins.
        length: Most bytes of the part; `None` for all.
        whole: Ask for everything at once, rather than in pieces, between which the
            object may change.

    Raises:
        ChangedError: The object changed meanwhile; ``wire`` cannot be used any more.
        CorruptObjectError: The value is no object.
    """
    most = None if whole else FIRST_NBYTES
    if length is not None and (most is None or length < most):
        most = length
    wire.send([_first(name, offset, most)], 2 if offset else 1)
    found = _begin(wire, where, offset, length, most)
    if found is not None:
        _finish(wire, name, offset, found)
    return found


def read_all(wire: Wire, names: Sequence[bytes], where: str) -> list[BytesLike | None]:
    """The bytes of each of ``names``, as `read` gives them, asked for ahead."""
    found: list[BytesLike | None] = []
    for at in range(0, len(names), _BATCH):
        some = names[at : at + _BATCH]
        wire.send([_first(name, 0, FIRST_NBYTES) for name in some], len(some))
        begun = [_begin(wire, where, 0, None, FIRST_NBYTES) for _ in some]
        for name, one in zip(some, begun, strict=True):
            if one is not None:
                _finish(wire, name, 0, one)
            found.append(None if one is None else one.data)
    return found


def _range(name: bytes, start: int, nbytes: int | None) -> bytes:
    last = b"-1" if nbytes is None else b"%d" % (start + nbytes - 1)
    return command(b"GETRANGE", name, b"%d" % start, last)


def _first(name: bytes, offset: int, most: int | None) -> bytes:
    """The request for the header and ``most`` bytes from ``offset``."""
    if offset:
        return _range(name, 0, HEADER_NBYTES) + _range(name, HEADER_NBYTES + offset, most)
    if most == FIRST_NBYTES:
        return b"*4\r\n$8\r\nGETRANGE\r\n$%d\r\n%b%b" % (len(name), name, _FROM_THE_FIRST)
    return _range(name, 0, None if most is None else HEADER_NBYTES + most)


def _begin(
    wire: Wire, where: str, offset: int, length: int | None, most: int | None
) -> Found | None:
    nbytes = wire.bulk()
    if not nbytes:
        wire.end()
        if offset:
            _skip_empty(wire)
        return None
    header = Header.from_bytes(wire.take(min(nbytes, HEADER_NBYTES)), where)
    have = nbytes - HEADER_NBYTES
    if offset:
        wire.end()
        have = wire.bulk()
    wanted = max(0, header.nbytes - offset)
    if length is not None:
        wanted = min(wanted, length)
    expected = 0 if header.part_nbytes else wanted if most is None else min(wanted, most)
    if have != expected:
        raise ChangedError
    if have == wanted <= TAKEN_NBYTES:
        data: BytesLike = wire.take(have)
    else:
        data = _allocated(wanted)
        wire.fill(memoryview(data)[:have])
    wire.end()
    return Found(header, data, have)


def _skip_empty(wire: Wire) -> None:
    if wire.bulk():
        raise ChangedError
    wire.end()


def _finish(wire: Wire, name: bytes, offset: int, found: Found) -> None:
    header, data, have = found
    if have == len(data):
        return
    generation = bytearray(len(header.generation))
    pieces = [
        *_pieces(name, header, offset + have, memoryview(data)[have:]),
        # Each write has a generation of its own: if it is the same at the end, so was
        # the object in between.
        _Piece(name, GENERATION_AT, memoryview(generation)),
    ]
    sent = 0
    for number, piece in enumerate(pieces):
        while sent < min(number + _AHEAD, len(pieces)):
            ask = pieces[sent]
            wire.send([_range(ask.name, ask.start, len(ask.view))], 1)
            sent += 1
        if wire.bulk() != len(piece.view):
            raise ChangedError
        wire.fill(piece.view)
        wire.end()
    if generation != header.generation:
        raise ChangedError


def _pieces(name: bytes, header: Header, start: int, view: memoryview) -> Iterator[_Piece]:
    """What to ask for, to fill ``view`` with what is at ``start`` of the object."""
    at = 0
    while at < len(view):
        nbytes = min(_PIECE_NBYTES, len(view) - at)
        if header.part_nbytes:
            part, within = divmod(start + at, header.part_nbytes)
            nbytes = min(nbytes, header.part_nbytes - within)
            yield _Piece(header.part_name(name, part), within, view[at : at + nbytes])
        else:
            yield _Piece(name, HEADER_NBYTES + start + at, view[at : at + nbytes])
        at += nbytes


def _allocated(nbytes: int) -> bytearray | memoryview:
    """Writable memory that nobody else has."""
    if nbytes < _HUGE_NBYTES:
        return bytearray(nbytes)
    memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(AttributeError, OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(memory)
