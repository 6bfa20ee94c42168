"""Object format, version 1: the frame around what a serializer dumped.

ADR 0001 has the layout. Everything in this module is about lengths and
checks; it knows no serializer.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, groupby
from typing import Any, NamedTuple, TypeAlias

from xxhash import xxh3_64, xxh3_64_intdigest

from proxystore.errors import CorruptObjectError, UnsupportedVersionError
from proxystore.payload import Buffers, BytesLike, Payload, flat_view

__all__ = [
    "MAGIC",
    "Frame",
    "Scattered",
    "Source",
    "decode",
    "encode",
    "has_buffers",
    "verify_content",
]

MAGIC = b"\x93PXS"
VERSION = 1
ALIGNMENT = 64
_CHECKSUM_FLAG = 1
_FIXED = struct.Struct("<4sBBBBIIQQQ")
_BEFORE_CHECK = struct.Struct("<4sBBBBI")
_AFTER_CHECK = struct.Struct("<QQQ")
_PADDING = tuple(bytes(n) for n in range(ALIGNMENT))

# A part below this is copied into its neighbour: as a buffer of its own it
# would cost more (0.5 us here, an iovec in the medium) than the copy.
_JOIN_BELOW = 4096


class Frame(NamedTuple):
    """The parts of a stored object, their lengths checked, their content not."""

    identifier: str
    in_band: memoryview
    buffers: Sequence[memoryview]
    content_start: int
    checksum: int | None


def encode(
    identifier: str, in_band: bytes, buffers: Sequence[Payload], *, checksum_below: int | None
) -> Buffers:
    """The object as buffers: a header, then the parts without a copy of the large ones.

    With a checksum of the content if it is smaller than ``checksum_below`` bytes.
    """
    name = identifier.encode("ascii")
    end = _FIXED.size + len(name) + 8 * len(buffers) + len(in_band)
    parts: list[BytesLike] = [in_band]
    lengths = []
    for buffer in buffers:
        # Flat, because len() of other views counts items.
        flat = buffer if type(buffer) is Buffers else flat_view(buffer)
        padding = -end % ALIGNMENT
        parts.append(_PADDING[padding])
        if isinstance(flat, memoryview):
            parts.append(flat)
        else:
            parts.extend(flat)
        lengths.append(flat.nbytes)
        end += padding + flat.nbytes
    body = [b"".join(parts)] if end < _JOIN_BELOW else _joined(parts)
    has_checksum = checksum_below is None or end < checksum_below
    digest = _digest(body) if has_checksum else 0

    flags = _CHECKSUM_FLAG if has_checksum else 0
    before = _BEFORE_CHECK.pack(MAGIC, VERSION, flags, len(name), 0, len(lengths))
    table = struct.pack(f"<{len(lengths)}Q", *lengths)
    after = _AFTER_CHECK.pack(end, len(in_band), digest) + name + table
    check = xxh3_64_intdigest(before + after) & 0xFFFFFFFF
    head = before + check.to_bytes(4, "little") + after
    if len(body[0]) < _JOIN_BELOW:
        body[0] = head + body[0]
    else:
        body.insert(0, head)
    return Buffers(body)


def _joined(parts: list[BytesLike]) -> list[BytesLike]:
    """The parts, at least one, with small neighbours as one."""
    joined: list[BytesLike] = []
    for is_small, run in groupby(parts, lambda part: len(part) < _JOIN_BELOW):
        if is_small:
            joined.append(b"".join(run))
        else:
            joined.extend(run)
    return joined


def _digest(parts: Sequence[BytesLike]) -> int:
    if len(parts) == 1:
        return xxh3_64_intdigest(parts[0])
    state = xxh3_64()
    for part in parts:
        state.update(part)
    return state.intdigest()


class Scattered:
    """Random access to the bytes of an object that does not lie in one piece.

    Args:
        data: The object. A slice within one of its buffers aliases it; a slice
            across several is a copy.
    """

    __slots__ = ("_ends", "_views", "nbytes")

    def __init__(self, data: Buffers) -> None:
        self._views = tuple(data)
        self._ends = list(accumulate(map(len, self._views)))
        self.nbytes = data.nbytes

    # Any: the bounds of a slice, which here are numbers or None.
    def __getitem__(self, bounds: slice[Any, Any, Any]) -> memoryview:
        pieces = self.pieces(*bounds.indices(self.nbytes)[:2])
        return pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))

    def pieces(self, start: int, stop: int) -> list[memoryview]:
        """As a slice, in as many pieces as it lies in."""
        pieces = []
        for index in range(bisect_right(self._ends, start), len(self._views)):
            view = self._views[index]
            begin = self._ends[index] - len(view)
            if begin >= stop:
                break
            pieces.append(view[max(start - begin, 0) : stop - begin])
        return pieces


Source: TypeAlias = memoryview | Scattered
"""The bytes of an object: a flat view where they lie in one piece."""


def has_buffers(data: BytesLike) -> bool:
    """Whether ``data`` is an object with memory of its own, such as an array.

    `deserialize` then gives views of ``data``, which can be written if it can
    be. Looks only at the first bytes, and at those of no other format.
    """
    head = bytes(data[: _BEFORE_CHECK.size])
    if len(head) < _BEFORE_CHECK.size or not head.startswith(MAGIC):
        return False
    n_buffers: int = _BEFORE_CHECK.unpack(head)[-1]
    return n_buffers > 0


def decode(source: Source) -> Frame:
    """Find the parts of an object. Allocates nothing that only a length asks for.

    Raises:
        CorruptObjectError: It is not an object of this format, or a length
            or the header is damaged.
        UnsupportedVersionError: It was written by a newer version.
    """
    header = _read_header(source)
    _, _, flags, n_id, _, n_buffers, _, total, in_band_nbytes, digest = _FIXED.unpack_from(header)
    table_start, start = _FIXED.size + n_id, len(header)
    if total != source.nbytes:
        missing = total - source.nbytes
        kind = f"{missing} bytes are missing at" if missing > 0 else f"{-missing} bytes follow"
        raise CorruptObjectError(
            f"its header says {total} bytes and there are {source.nbytes}: {kind} its end"
        )
    position = start + in_band_nbytes
    buffers = []
    for length in struct.unpack_from(f"<{n_buffers}Q", header, table_start):
        begin = position + (-position % ALIGNMENT)
        position = begin + length
        buffers.append(source[begin:position])
    if position != total:
        raise CorruptObjectError(
            f"its parts end at byte {position} and its header says {total} bytes"
        )
    return Frame(
        _ascii(header[_FIXED.size : table_start]),
        source[start : start + in_band_nbytes],
        buffers,
        start,
        digest if flags & _CHECKSUM_FLAG else None,
    )


def _read_header(source: Source) -> bytes:
    """A copy of everything before the content, once it has passed its own check."""
    fixed = source[: _FIXED.size]
    if fixed[:4] != MAGIC:
        raise CorruptObjectError(
            _foreign(fixed), "Read it with what wrote it, or store the object again."
        )
    if len(fixed) < _FIXED.size:
        raise CorruptObjectError(
            f"it ends after {len(fixed)} bytes, within its header of {_FIXED.size}"
        )
    _, version, flags, n_id, reserved, n_buffers, check, _, _, _ = _FIXED.unpack(fixed)
    if version > VERSION:
        raise UnsupportedVersionError(version, VERSION)
    end = _FIXED.size + n_id + 8 * n_buffers
    if end > source.nbytes:
        raise CorruptObjectError(
            f"its header and table of {n_buffers} buffers take {end} bytes and there are "
            f"{source.nbytes}"
        )
    header = bytes(source[:end])
    if check != xxh3_64_intdigest(header[:12] + header[16:]) & 0xFFFFFFFF:
        raise CorruptObjectError("its header was changed (the header's own check differs)")
    if version < VERSION or reserved or flags & ~_CHECKSUM_FLAG:
        raise CorruptObjectError(
            f"version {version}, flags {flags:#x}, reserved {reserved:#x} do not go together"
        )
    return header


def verify_content(source: Source, frame: Frame) -> None:
    """Compare the content with its checksum, if the object has one.

    Costs one pass over the object, some 25 GB/s.

    Raises:
        CorruptObjectError: They differ.
    """
    if frame.checksum is None:
        return
    if isinstance(source, memoryview):
        digest = xxh3_64_intdigest(source[frame.content_start :])
    else:
        digest = _digest(source.pieces(frame.content_start, source.nbytes))
    if digest != frame.checksum:
        raise CorruptObjectError(
            f"its content was changed (the checksum of bytes {frame.content_start} to "
            f"{source.nbytes} differs from the one in its header)"
        )


def _foreign(fixed: memoryview) -> str:
    if not fixed:
        return "it is empty"
    if MAGIC.startswith(fixed):
        return f"it ends after {len(fixed)} bytes, within its header of {_FIXED.size}"
    return (
        f"it is not an object of this format, nor of the older system's (it begins with "
        f"{fixed[:8].hex(' ')})"
    )


def _ascii(name: bytes) -> str:
    try:
        return str(name, "ascii")
    except UnicodeDecodeError:
        raise CorruptObjectError("the name of its serializer is not ASCII") from None
