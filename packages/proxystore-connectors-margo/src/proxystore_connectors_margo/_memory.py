"""Memory to receive objects in, and to send them from."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

from proxystore.payload import Payload, as_buffers

__all__ = ["allocated", "exposable"]

_MAPPED_FROM = 65536
_JOINED_BELOW = 65536


def allocated(nbytes: int) -> memoryview:
    """``nbytes`` of private, writable memory.

    Mapped where it is much: a `bytearray` is filled with zeros first.

    Raises:
        MemoryError: There is not so much.
    """
    if nbytes < _MAPPED_FROM:
        return memoryview(bytearray(nbytes))
    try:
        return memoryview(mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    except (OSError, OverflowError) as exc:
        raise MemoryError(f"There is no memory for an object of {nbytes} bytes.") from exc


def exposable(payload: Payload) -> Iterator[memoryview]:
    """The payload as few buffers: large ones as they are, runs of small ones joined."""
    small: list[memoryview] = []
    for view in as_buffers(payload):
        if len(view) < _JOINED_BELOW:
            small.append(view)
            continue
        yield from _joined(small)
        small = []
        yield view
    yield from _joined(small)


def _joined(views: list[memoryview]) -> Iterator[memoryview]:
    views = [view for view in views if view]
    if views:
        yield views[0] if len(views) == 1 else memoryview(b"".join(views))
