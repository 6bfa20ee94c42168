"""What a connector is given to store: bytes, or buffers that need not be joined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pickle import PickleBuffer
from typing import TypeAlias, final, overload

__all__ = [
    "Buffers",
    "BytesLike",
    "Payload",
    "as_buffers",
    "as_bytes",
    "flat_view",
    "payload_nbytes",
]

BytesLike: TypeAlias = bytes | bytearray | memoryview


@final
class Buffers(Sequence[memoryview]):
    """A sequence of flat, read-only byte views that together are one object.

    Holds references to the memory it was given and copies nothing; whoever
    made that memory must not change it until the write that takes these
    buffers has returned. Immutable, and safe to read from several threads.

    Args:
        buffers: Contiguous buffers of any item type, in order. Empty ones are kept.

    Raises:
        BufferError: A buffer is not C or Fortran contiguous.
        TypeError: A buffer is not bytes-like.
    """

    __slots__ = ("_views", "nbytes")

    def __init__(self, buffers: Iterable[BytesLike]) -> None:
        self._views = tuple([
            memoryview(buffer) if type(buffer) is bytes else flat_view(buffer).toreadonly()
            for buffer in buffers
        ])
        self.nbytes = sum(map(len, self._views))
        """Bytes in all buffers together."""

    @overload
    def __getitem__(self, index: int) -> memoryview: ...
    @overload
    def __getitem__(self, index: slice) -> Buffers: ...
    def __getitem__(self, index: int | slice) -> memoryview | Buffers:
        if isinstance(index, slice):
            return Buffers(self._views[index])
        return self._views[index]

    def __len__(self) -> int:
        return len(self._views)

    def __iter__(self) -> Iterator[memoryview]:
        return iter(self._views)

    def __repr__(self) -> str:
        return f"<Buffers: {len(self._views)} of {self.nbytes} bytes in all>"

    def join(self) -> bytes:
        """One `bytes` with a copy of everything, for media that cannot scatter."""
        return b"".join(self._views)


Payload: TypeAlias = BytesLike | Buffers


def flat_view(buffer: BytesLike) -> memoryview:
    """The memory of ``buffer`` as one dimension of unsigned bytes, without a copy.

    Fortran-ordered memory comes in the order in which it lies there.

    Raises:
        BufferError: The buffer is not C or Fortran contiguous.
        TypeError: It is not bytes-like.
    """
    try:
        # Before Python 3.13 the garbage collector crashes on a PickleBuffer around a
        # memoryview, in the frames that an error keeps, for one.
        return memoryview(buffer).cast("B")
    except (TypeError, ValueError):
        # cast() refuses what raw() takes: Fortran order, zeros in the shape, formats
        # that are not native.
        return PickleBuffer(buffer).raw()


def as_buffers(payload: Payload) -> Buffers:
    """The payload as `Buffers`, without a copy."""
    return payload if type(payload) is Buffers else Buffers((payload,))


def as_bytes(payload: Payload) -> bytes:
    """The payload as one `bytes`; copies unless it already is one."""
    if isinstance(payload, bytes):
        return payload
    return payload.join() if isinstance(payload, Buffers) else bytes(flat_view(payload))


def payload_nbytes(payload: Payload) -> int:
    """Size of the payload in bytes."""
    if isinstance(payload, (Buffers, memoryview)):
        return payload.nbytes
    return len(payload)
