"""Objects to bytes and back, in place.

`serialize` gives `Buffers`: a small header, then the memory of the object
itself, uncopied. `deserialize` reads such bytes, and those of the older
system, where they lie. `register_serializer` adds a type.
"""

from __future__ import annotations

from proxystore._marker import require_whole
from proxystore.errors import SerializationError
from proxystore.payload import BytesLike
from proxystore.serialize._api import deserialize, is_bytes_like, serialize
from proxystore.serialize._contract import Dumped, Serializer, writable
from proxystore.serialize._format import has_buffers
from proxystore.serialize._registry import (
    SAFE_SERIALIZERS,
    register_serializer,
    serializers,
    unregister_serializer,
)

__all__ = [
    "SAFE_SERIALIZERS",
    "BytesLike",
    "Dumped",
    "SerializationError",
    "Serializer",
    "deserialize",
    "has_buffers",
    "is_bytes_like",
    "register_serializer",
    "serialize",
    "serializers",
    "unregister_serializer",
    "writable",
]

require_whole()
