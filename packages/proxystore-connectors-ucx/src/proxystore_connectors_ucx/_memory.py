"""How objects are cut for sending, and put together where they are received."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from proxystore.payload import Buffers, BytesLike, Payload, as_buffers, as_bytes
from proxystore_connectors_ucx._device import DeviceArray, DeviceMemory, Piece
from proxystore_connectors_ucx._wire import MAX_PIECES

__all__ = ["cut", "pieces_of"]

_SMALL_NBYTES = 1 << 16
_USUAL = (Buffers, bytes, bytearray, memoryview)


def cut(memory: memoryview, lengths: Sequence[int]) -> list[memoryview]:
    """``memory`` as consecutive pieces of these lengths."""
    pieces, start = [], 0
    for length in lengths:
        pieces.append(memory[start : start + length])
        start += length
    return pieces


def pieces_of(payload: Payload | DeviceArray) -> list[Piece]:
    """``payload`` in at most `MAX_PIECES` buffers: large ones as they are, small ones joined.

    Raises:
        TypeError: It is not bytes-like, nor in the memory of a GPU.
        BufferError: It is not contiguous.
        ConnectorUnavailableError: It is in the memory of a GPU, and this process has none.
    """
    if not isinstance(payload, _USUAL) and isinstance(payload, DeviceArray):
        memory = DeviceMemory.of(payload)
        return [memory] if memory else []
    pieces: list[Piece] = list(_joined(as_buffers(payload)))
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
