"""Objects and metadata as producers send them: checked, and safe from later changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxystore.abc import Medium
from proxystore.payload import Payload
from proxystore.serialize import serialize
from proxystore.store import Store
from proxystore_patterns.errors import EventEncodingError
from proxystore_patterns.streams._events import Metadata
from proxystore_patterns.streams._plain import dump_plain, load_plain

__all__ = ["as_it_is", "check_plain", "payload_of", "snapshot"]

_UNCHECKED_NBYTES = 1024 * 1024


# Any in this module: whatever a caller gave.
def payload_of(obj: Any, store: Store[Any] | None) -> Payload:
    """``obj`` as ``store`` would serialize it."""
    medium = None if store is None else getattr(store.connector, "medium", None)
    in_memory = medium in {Medium.PROCESS, Medium.SHARED_MEMORY}
    # As the store would: a check of a large object costs as much as a copy there.
    return serialize(obj, checksum_below=_UNCHECKED_NBYTES if in_memory else None)


def as_it_is(payload: Any) -> Any:
    """The serializer of what is serialized."""
    return payload


def check_plain(store: Store[Any]) -> None:
    """Return if consumers know how to deserialize what is in ``store``.

    Raises:
        EventEncodingError: It has a serializer of its own.
    """
    if store.serializer is not None or store.deserializer is not None:
        raise EventEncodingError(
            f"objects of store {store.name!r}",
            "a serializer or deserializer of its own (call register_serializer() instead)",
        )


def snapshot(metadata: Any) -> Metadata:
    """A copy of ``metadata``, which its sender cannot change.

    Raises:
        EventEncodingError: It is no dict of plain values.
    """
    if not metadata:
        return {}
    if not isinstance(metadata, Mapping):
        kind = type(metadata).__qualname__
        raise EventEncodingError("metadata", f"{kind} in place of a dict")
    return {
        name: load_plain(dump_plain(value, f"metadata {name!r}"))
        for name, value in metadata.items()
    }
