"""Memory for objects: where they are received, and how they are cut for sending."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence

from proxystore.payload import BytesLike, Payload, as_buffers, as_bytes
from proxystore_connectors_ucx._wire import MAX_PIECES

__all__ = ["allocate", "cut", "pieces_of"]

_HUGE_NBYTES = 1 << 21
_SMALL_NBYTES = 1 << 16
_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


def allocate(nbytes: int) -> memoryview:
    """Private memory to receive an object in.

    Raises:
        MemoryError: The system has none.
    """
    if nbytes < _HUGE_NBYTES:
        return memoryview(bytearray(nbytes))
    try:
        pages = mmap.mmap(-1, nbytes, flags=_PRIVATE)
    except OSError as exc:
        raise MemoryError(exc.strerror) from exc
    # Small pages cost 45 ms of faults per 100 MB, huge ones 16.
    pages.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(pages)


def cut(memory: memoryview, lengths: Sequence[int]) -> list[memoryview]:
    """``memory`` as consecutive pieces of these lengths."""
    pieces, start = [], 0
    for length in lengths:
        pieces.append(memory[start : start + length])
        start += length
    return pieces


def pieces_of(payload: Payload) -> list[BytesLike]:
    """``payload`` in at most `MAX_PIECES` buffers: large ones as they are, small ones joined."""
    pieces = list(_joined(as_buffers(payload)))
    return pieces if len(pieces) <= MAX_PIECES else [as_bytes(payload)]


def _joined(buffers: Sequence[memoryview]) -> Iterator[BytesLike]:
    small: list[memoryview] = []
    for buffer in buffers:
        if len(buffer) <= _SMALL_NBYTES:
            small.append(buffer)
            continue
        if any(small):
            yield b"".join(small)
            small = []
        yield buffer
    if any(small):
        yield b"".join(small)
