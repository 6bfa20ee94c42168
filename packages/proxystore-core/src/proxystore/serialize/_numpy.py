"""Serializer of `numpy.ndarray`; imported only once numpy is."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.lib.format as npy

from proxystore.errors import CorruptObjectError, SerializationError
from proxystore.serialize._builtin import only
from proxystore.serialize._contract import Dumped, writable

__all__ = ["NdarraySerializer", "dtype_from_text"]

# Any: an array's shape and items are not known here.
_Array = np.ndarray[Any, Any]
_DType = np.dtype[Any]

_PLAIN = re.compile(r"[<>|=][biufcmMSUV]\d+(\[\d*\w+\])?")
_MAX_DTYPE = 65536


class NdarraySerializer:
    """Arrays of exactly `numpy.ndarray`, in place, in C or Fortran order.

    The in-band part is ``dtype;order;dimensions``. Arrays that hold Python
    objects, and dtypes that numpy cannot describe in text, go to pickle.
    """

    identifier = "numpy.ndarray"
    types = ("numpy.ndarray",)

    def dump(self, obj: _Array) -> Dumped | None:
        text = None if obj.dtype.metadata else _text_of(obj.dtype)
        if text is None:
            return None
        flags, order = obj.flags, "C"
        shape = obj.shape
        if not flags.c_contiguous:
            if flags.f_contiguous:
                order, obj = "F", obj.T
            else:
                obj = np.ascontiguousarray(obj)
        in_band = f"{text};{order};{','.join(map(str, shape))}".encode()
        # Not memoryview(obj): datetime64 and others export no buffer.
        return in_band, (obj.reshape(-1).view(np.uint8).data if obj.nbytes else b"",)

    def load(self, in_band: memoryview, buffers: Sequence[memoryview], *, readonly: bool) -> _Array:
        text, order, dimensions = bytes(in_band).decode().rsplit(";", 2)
        shape = tuple(map(int, dimensions.split(","))) if dimensions else ()
        buffer = only(buffers)
        array: _Array = np.ndarray(
            shape,
            dtype_from_text(text),
            buffer if readonly else writable(buffer),
            order="F" if order == "F" else "C",
        )
        if array.nbytes != buffer.nbytes:
            raise CorruptObjectError(
                f"an array of shape {shape} and dtype {text} has {array.nbytes} bytes and "
                f"there are {buffer.nbytes}"
            )
        return array


@lru_cache(maxsize=256)
def _text_of(dtype: _DType) -> str | None:
    """What `dtype_from_text` reads back as an equal dtype, or `None`."""
    if dtype.hasobject or dtype.subdtype is not None:
        return None
    text = dtype.str if dtype.names is None else repr(npy.dtype_to_descr(dtype))
    try:
        same = dtype_from_text(text)
    except (SerializationError, ValueError, TypeError, SyntaxError):
        return None
    return text if same == dtype and same.isalignedstruct == dtype.isalignedstruct else None


@lru_cache(maxsize=256)
def dtype_from_text(text: str) -> _DType:
    """The dtype that ``text`` describes, as in the header of an ``.npy`` file.

    Raises:
        CorruptObjectError: It describes none, or one that holds Python objects.
    """
    if _PLAIN.fullmatch(text):
        return np.dtype(text)
    if len(text) > _MAX_DTYPE or not text.startswith("["):
        raise CorruptObjectError(f"{text[:64]!r} is not a dtype")
    dtype: _DType = npy.descr_to_dtype(ast.literal_eval(text))
    if dtype.hasobject:
        raise CorruptObjectError("its dtype holds Python objects, which are never stored so")
    return dtype
