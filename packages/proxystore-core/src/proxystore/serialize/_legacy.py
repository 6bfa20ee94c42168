"""Reads what the older system wrote: two letters, a newline, a payload."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable
from typing import Any

from proxystore.errors import CorruptObjectError, ForbiddenSerializerError

__all__ = ["LegacyLoad", "legacy_load"]

# Any: whatever was stored. The second argument is what the caller allows.
LegacyLoad = Callable[[memoryview, frozenset[str] | None], Any]

_NPY_MAGIC = b"\x93NUMPY"
# numpy's own bound: literal_eval of more can end the interpreter.
_MAX_NPY_HEADER = 10_000


def legacy_load(head: bytes) -> tuple[str, LegacyLoad] | None:
    """The serializer of today that stands for an older object's, and its loader.

    Args:
        head: The first three bytes of the object.

    Returns:
        `None` if no object of the older system begins so.
    """
    return _FORMATS.get(head)


def _load_frame(payload: memoryview, _allowed: frozenset[str] | None) -> Any:
    from proxystore.serialize._polars import read_frame

    return read_frame(payload)


def _load_array(payload: memoryview, allowed: frozenset[str] | None) -> Any:
    """The array in an ``.npy`` file, which is copied: it is not aligned there."""
    # numpy.load makes room for what a header claims before it looks for it.
    import numpy as np

    header, start = _npy_header(payload)
    dtype = np.lib.format.descr_to_dtype(header["descr"])
    if dtype.hasobject:
        if allowed is not None and "pickle" not in allowed:
            raise ForbiddenSerializerError("pickle", tuple(sorted(allowed)))
        return np.load(io.BytesIO(payload), allow_pickle=True)
    data = bytearray(payload[start:])
    array: Any = np.ndarray(
        header["shape"], dtype, data, order="F" if header["fortran_order"] else "C"
    )
    if array.nbytes != len(data):
        raise CorruptObjectError(f"its array needs {array.nbytes} bytes and has {len(data)}")
    return array


def _npy_header(payload: memoryview) -> tuple[dict[str, Any], int]:
    """What an ``.npy`` header says, and where the data starts."""
    if payload[:6] != _NPY_MAGIC or len(payload) < 12:
        raise CorruptObjectError("its array does not begin as an .npy file does")
    major = payload[6]
    size, start = (2, 10) if major == 1 else (4, 12)
    (length,) = struct.unpack("<H" if size == 2 else "<I", payload[8:start])
    if length > min(_MAX_NPY_HEADER, len(payload) - start):
        raise CorruptObjectError(f"its .npy header claims {length} bytes")
    # Imported here, for few programs read objects of the older system.
    import ast

    text = str(payload[start : start + length], "utf-8" if major >= 3 else "latin-1")
    header = ast.literal_eval(text.strip())
    if not isinstance(header, dict) or header.keys() != {"descr", "fortran_order", "shape"}:
        raise CorruptObjectError("its .npy header lacks descr, fortran_order or shape")
    return header, start + length


_FORMATS: dict[bytes, tuple[str, LegacyLoad]] = {
    b"BS\n": ("bytes", lambda payload, _: bytes(payload)),
    b"US\n": ("str", lambda payload, _: str(payload, "utf-8")),
    b"NP\n": ("numpy.ndarray", _load_array),
    b"PL\n": ("polars.DataFrame", _load_frame),
    b"PD\n": ("pickle", lambda payload, _: pickle.loads(payload)),
    b"PK\n": ("pickle", lambda payload, _: pickle.loads(payload)),
    b"CP\n": ("cloudpickle", lambda payload, _: pickle.loads(payload)),
}
