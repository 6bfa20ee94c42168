"""Events: what producers tell consumers, and their form on the wire. Never pickled.

A frame is a header (magic, version, kind, lengths, a checksum of the head), a head
of plain values, and a body: nothing, the bytes of an object, or the frames of a batch.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from proxystore.payload import BytesLike, Payload, as_buffers, payload_nbytes
from proxystore.store.reference import StoreReference
from proxystore_patterns.errors import BadEventError
from proxystore_patterns.streams._plain import dump_plain, load_plain

__all__ = [
    "EndOfStreamEvent",
    "Event",
    "EventBatch",
    "Metadata",
    "NewObjectEvent",
    "NewObjectKeyEvent",
    "ObjectEvent",
    "bytes_to_event",
    "event_to_bytes",
    "is_end",
]

# Any: metadata is whatever plain values a program likes.
Metadata: TypeAlias = dict[str, Any]

_MAGIC, _VERSION = b"PsEv", 1
_HEADER = struct.Struct("<4sBBIQI")
_END, _BATCH, _OBJECT, _KEY = range(1, 5)
_END_BEGINS = _MAGIC + bytes([_VERSION, _END])


@dataclass(frozen=True, slots=True)
class EndOfStreamEvent:
    """A producer has ended a topic."""

    topic: str
    producer: str = ""


@dataclass(frozen=True, slots=True)
class NewObjectEvent:
    """An object that travels in its event."""

    topic: str
    obj: Payload
    """As `proxystore.serialize.serialize` gave it."""
    metadata: Metadata = field(default_factory=dict)
    producer: str = ""
    sequence: int = 0
    """Counts the objects that a producer sent to a topic, from 0."""


@dataclass(frozen=True, slots=True)
class NewObjectKeyEvent:
    """An object that is in a store."""

    topic: str
    key: tuple[Any, ...]
    """The plain fields of its key."""
    store: StoreReference
    evict: bool = True
    """Whether its first use removes it."""
    metadata: Metadata = field(default_factory=dict)
    producer: str = ""
    sequence: int = 0


ObjectEvent: TypeAlias = NewObjectEvent | NewObjectKeyEvent


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events of one topic in one message."""

    topic: str
    events: Sequence[ObjectEvent]


Event: TypeAlias = EndOfStreamEvent | NewObjectEvent | NewObjectKeyEvent | EventBatch


def event_to_bytes(event: Event) -> bytes:
    """The message that carries ``event``.

    Raises:
        EventEncodingError: Metadata, key or store hold something that is not plain.
    """
    return b"".join(_pieces(event))


def bytes_to_event(message: BytesLike) -> Event:
    """The event in ``message``, which may come from anybody.

    Objects alias ``message``, and are not deserialized.

    Raises:
        BadEventError: It is something else, or was cut or changed.
    """
    view = memoryview(message).toreadonly()
    event, end = _parse(view, nested=False)
    if end != len(view):
        raise BadEventError(f"{len(view) - end} bytes follow it")
    return event


def is_end(message: BytesLike) -> bool:
    """Whether ``message`` begins as that of an `EndOfStreamEvent` does."""
    return bytes(message[:6]) == _END_BEGINS


def _pieces(event: Event) -> list[BytesLike]:
    if isinstance(event, NewObjectEvent):
        head = (event.topic, event.producer, event.sequence, event.metadata)
        return _frame(_OBJECT, head, *as_buffers(event.obj))
    if isinstance(event, NewObjectKeyEvent):
        address, name, options = event.store
        about = (address, name, dict(options), event.evict)
        where = (event.topic, event.producer, event.sequence, event.metadata)
        return _frame(_KEY, (*where, event.key, about))
    if isinstance(event, EventBatch):
        pieces = [piece for each in event.events for piece in _pieces(each)]
        return _frame(_BATCH, (event.topic, len(event.events)), *pieces)
    return _frame(_END, (event.topic, event.producer))


def _frame(kind: int, head: tuple[Any, ...], *body: BytesLike) -> list[BytesLike]:
    data = dump_plain(list(head), "an event")
    nbytes = sum(map(payload_nbytes, body))
    header = _HEADER.pack(_MAGIC, _VERSION, kind, len(data), nbytes, zlib.crc32(data))
    return [header, data, *body]


def _parse(view: memoryview, *, nested: bool) -> tuple[Event, int]:
    if len(view) < _HEADER.size:
        raise BadEventError(f"it has {len(view)} bytes, fewer than any event")
    magic, version, kind, head_nbytes, body_nbytes, checksum = _HEADER.unpack_from(view)
    if magic != _MAGIC:
        raise BadEventError("it does not begin as events do")
    if version != _VERSION:
        raise BadEventError(f"it is in version {version}, and this one reads {_VERSION}")
    start = _HEADER.size + head_nbytes
    end = start + body_nbytes
    if end > len(view):
        raise BadEventError(f"it was cut: {end - len(view)} bytes are missing")
    data = bytes(view[_HEADER.size : start])
    if zlib.crc32(data) != checksum:
        raise BadEventError("its head was changed on the way")
    reader = _READERS.get(kind)
    if reader is None or (nested and kind in {_BATCH, _END}):
        raise BadEventError(f"its kind is {kind}, which is none that can stand there")
    try:
        return reader(load_plain(data), view[start:end]), end
    except (TypeError, ValueError) as exc:
        if isinstance(exc, BadEventError):
            raise
        raise BadEventError("its head lacks fields, or has others than it should") from exc


# Any in the rest of this module: what stood in a head, before it is checked.
def _typed(value: Any, kind: type | tuple[type, ...]) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise BadEventError(f"a {type(value).__name__} stands where another type should")
    return value


def _where(head: list[Any]) -> dict[str, Any]:
    topic, producer, sequence, metadata = head
    return {
        "topic": _typed(topic, str),
        "producer": _typed(producer, str),
        "sequence": _typed(sequence, int),
        "metadata": _typed(metadata, dict),
    }


def _read_end(head: Any, body: memoryview) -> EndOfStreamEvent:
    topic, producer = head
    _nothing(body)
    return EndOfStreamEvent(_typed(topic, str), _typed(producer, str))


def _read_object(head: Any, body: memoryview) -> NewObjectEvent:
    return NewObjectEvent(obj=body, **_where(head))


def _read_key(head: Any, body: memoryview) -> NewObjectKeyEvent:
    *where, key, about = head
    address, name, options, evict = _typed(about, tuple)
    _nothing(body)
    if isinstance(address, tuple):
        kind, config = address
        address = (_typed(kind, str), _typed(config, dict))
    reference = StoreReference(
        _typed(address, (str, tuple)), _typed(name, str), _typed(options, dict)
    )
    return NewObjectKeyEvent(
        key=_typed(key, tuple), store=reference, evict=_typed(evict, bool), **_where(where)
    )


def _read_batch(head: Any, body: memoryview) -> EventBatch:
    topic, count = head
    events: list[ObjectEvent] = []
    while len(body):
        event, end = _parse(body, nested=True)
        assert isinstance(event, (NewObjectEvent, NewObjectKeyEvent))
        events.append(event)
        body = body[end:]
    if len(events) != _typed(count, int):
        raise BadEventError(f"it says {count} events and has {len(events)}")
    return EventBatch(_typed(topic, str), events)


def _nothing(body: memoryview) -> None:
    if len(body):
        raise BadEventError("it has a body, and its kind has none")


_READERS: Mapping[int, Any] = {
    _END: _read_end,
    _OBJECT: _read_object,
    _KEY: _read_key,
    _BATCH: _read_batch,
}
