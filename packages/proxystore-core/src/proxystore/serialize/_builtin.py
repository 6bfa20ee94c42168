"""Serializers of built-in types, and pickle for everything else."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from math import prod
from typing import Any

from proxystore.errors import CorruptObjectError, SerializationError
from proxystore.payload import flat_view
from proxystore.serialize._contract import Dumped, writable

__all__ = [
    "CLOUDPICKLE",
    "PICKLE",
    "BytearraySerializer",
    "BytesSerializer",
    "CloudpickleSerializer",
    "MemoryviewSerializer",
    "PickleSerializer",
    "StrSerializer",
    "only",
]

_PROTOCOL = 5


def only(buffers: Sequence[memoryview]) -> memoryview:
    """The one buffer of an object that has exactly one.

    Raises:
        CorruptObjectError: It has another number of them.
    """
    if len(buffers) != 1:
        raise CorruptObjectError(f"it has {len(buffers)} buffers where its type has one")
    return buffers[0]


class BytesSerializer:
    """`bytes`, which cannot alias what was stored: loading copies once."""

    identifier = "bytes"
    types = (bytes,)

    def dump(self, obj: bytes) -> Dumped:
        return b"", (obj,)

    def load(self, in_band: memoryview, buffers: Sequence[memoryview], *, readonly: bool) -> bytes:
        return bytes(only(buffers))


class BytearraySerializer:
    """`bytearray`, which owns its memory: loading copies once."""

    identifier = "bytearray"
    types = (bytearray,)

    def dump(self, obj: bytearray) -> Dumped:
        return b"", (obj,)

    def load(
        self, in_band: memoryview, buffers: Sequence[memoryview], *, readonly: bool
    ) -> bytearray:
        return bytearray(only(buffers))


class StrSerializer:
    """`str` as UTF-8; lone surrogates survive."""

    identifier = "str"
    types = (str,)

    def dump(self, obj: str) -> Dumped:
        return b"", (obj.encode("utf-8", "surrogatepass"),)

    def load(self, in_band: memoryview, buffers: Sequence[memoryview], *, readonly: bool) -> str:
        return str(only(buffers), "utf-8", "surrogatepass")


class MemoryviewSerializer:
    """`memoryview` of any shape and native item format, in place.

    Items of other formats (``<i``, structures) and pointers (``P``) have no
    meaning for `memoryview.cast` or another process, and are refused: pickle
    cannot take them, and cloudpickle would give back `bytes`.
    """

    identifier = "memoryview"
    types = (memoryview,)

    _FORMATS = frozenset("?bBcdfhHiIlLnNqQ")

    # Any: the type of the items is only known from the format.
    def dump(self, obj: memoryview[Any]) -> Dumped:
        shape = obj.shape or ()
        if obj.format not in self._FORMATS or (len(shape) > 1 and 0 in shape):
            raise SerializationError(
                f"Cannot serialize a memoryview of shape {shape} with items of format "
                f"{obj.format!r}. Store the array that it is a view of, or its tobytes()."
            )
        in_band = f"{obj.format};{','.join(map(str, shape))}".encode("ascii")
        return in_band, (flat_view(obj) if obj.c_contiguous else obj.tobytes(),)

    def load(
        self, in_band: memoryview, buffers: Sequence[memoryview], *, readonly: bool
    ) -> memoryview[Any]:
        item_format, _, dimensions = str(in_band, "ascii").partition(";")
        shape = [int(n) for n in dimensions.split(",")] if dimensions else []
        buffer = only(buffers)
        # Any: the annotation of cast() takes only literal formats.
        flat: Any = buffer if readonly else writable(buffer)
        items: memoryview[Any] = flat.cast(item_format)
        if prod(shape) != len(items):
            raise CorruptObjectError(f"a view of shape {shape} has {len(items)} items")
        return items if len(shape) == 1 else flat.cast(item_format, shape)


class PickleSerializer:
    """Whatever plain pickle can do; large memory goes out of band, uncopied.

    Not safe: loading runs what the object says.
    """

    identifier = "pickle"
    types = ()

    def dump(self, obj: object) -> Dumped:
        out_of_band: list[pickle.PickleBuffer] = []
        in_band = pickle.dumps(obj, _PROTOCOL, buffer_callback=out_of_band.append)
        return in_band, [buffer.raw() for buffer in out_of_band]

    def load(self, in_band: memoryview, buffers: Sequence[memoryview], *, readonly: bool) -> Any:
        if not buffers:
            return pickle.loads(in_band)
        kept = buffers if readonly else [writable(buffer) for buffer in buffers]
        return pickle.loads(in_band, buffers=kept)


class CloudpickleSerializer(PickleSerializer):
    """What plain pickle cannot do: lambdas, local classes, `__main__` of a notebook."""

    identifier = "cloudpickle"

    def dump(self, obj: object) -> Dumped:
        import cloudpickle  # 20 ms, for few objects

        out_of_band: list[pickle.PickleBuffer] = []
        in_band = cloudpickle.dumps(obj, _PROTOCOL, buffer_callback=out_of_band.append)
        return in_band, [buffer.raw() for buffer in out_of_band]


PICKLE = PickleSerializer()
CLOUDPICKLE = CloudpickleSerializer()
