"""Objects to payloads and back, as a store's options have it."""

from __future__ import annotations

import mmap
from typing import Any, NamedTuple

from proxystore.abc import Medium
from proxystore.errors import SerializationError
from proxystore.payload import Buffers, BytesLike, Payload
from proxystore.serialize import deserialize, has_buffers, serialize
from proxystore.store.options import StoreOptions, Verify
from proxystore.store.types import DeserializerT, SerializerT

__all__ = ["Codec", "KeptBytes", "is_mapped", "load"]

_UNCHECKED_NBYTES = 1024 * 1024


class KeptBytes(NamedTuple):
    """What a cache keeps of an object of which each caller gets a view of its own."""

    data: memoryview
    """Read-only."""


class Codec:
    """Serializes for one store. Thread safe.

    Args:
        options: Of the store.
        medium: Where its connector keeps the bytes.
    """

    def __init__(self, options: StoreOptions, medium: Medium) -> None:
        self._serializer, self._deserializer = options.serializer, options.deserializer
        self.readonly = options.readonly
        in_memory = medium in {Medium.PROCESS, Medium.SHARED_MEMORY}
        self._checks_all = options.verify == Verify.ALWAYS.value or not in_memory

    # Any: objects of every type.
    def dump(self, obj: Any, serializer: SerializerT | None) -> Payload:
        """The payload of ``obj``, by ``serializer`` or the store's."""
        serializer = serializer or self._serializer
        if serializer is None:
            return serialize(obj, checksum_below=None if self._checks_all else _UNCHECKED_NBYTES)
        payload = serializer(obj)
        if not isinstance(payload, (bytes, bytearray, memoryview, Buffers)):
            raise TypeError("Serializer must return a bytes-like object.")
        return payload

    def gives_views(self, data: BytesLike, deserializer: DeserializerT | None) -> bool:
        """Whether what `load` gives is, or has, views of memory, as an array does."""
        return (deserializer or self._deserializer) is None and has_buffers(data)

    def load(self, data: BytesLike, deserializer: DeserializerT | None) -> Any:
        """The object of ``data``, by ``deserializer`` or the store's. See `load`."""
        verify = self._checks_all or len(data) < _UNCHECKED_NBYTES
        deserializer = deserializer or self._deserializer
        return load(data, deserializer, readonly=self.readonly, verify=verify)


def load(
    data: BytesLike, deserializer: DeserializerT | None, *, readonly: bool, verify: bool = True
) -> Any:
    """The object of ``data``, by ``deserializer`` or else the one of `proxystore.serialize`.

    Raises:
        SerializationError: The bytes are damaged, or the deserializer raised.
    """
    if deserializer is None:
        return deserialize(data, readonly=readonly, verify=verify)
    try:
        # A copy: what programs pass here calls methods of bytes, or
        # json.loads, which takes no views.
        return deserializer(bytes(data))
    except SerializationError:
        raise
    except Exception as exc:
        raise SerializationError(
            f"The deserializer {deserializer!r} failed on an object of {len(data)} bytes: "
            f"{type(exc).__name__}: {exc}. Use the one that belongs to the serializer."
        ) from exc


def is_mapped(data: BytesLike) -> bool:
    """Whether ``data`` is a view of a file or of shared memory, not private memory."""
    return isinstance(data, memoryview) and isinstance(data.obj, mmap.mmap)
