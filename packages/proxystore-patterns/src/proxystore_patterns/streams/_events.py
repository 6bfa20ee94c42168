"""Events: what producers tell consumers, and their form on the wire. Never pickled.

A frame is a header (magic, version, kind, lengths, a number), a checksum of header and
head, a head (topic, producer, plain values if there are any) and a body: nothing, the
bytes of an object, or the frames of a batch.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from proxystore.payload import BytesLike, Payload, as_buffers, payload_nbytes
from proxystore.store.reference import StoreReference
from proxystore_patterns.errors import BadEventError, EventEncodingError
from proxystore_patterns.streams._plain import dump_plain, load_plain

__all__ = [
    "EndOfStreamEvent",
    "Event",
    "EventBatch",
    "Metadata",
    "NewObjectEvent",
    "NewObjectKeyEvent",
    "ObjectEvent",
    "ProducerFailedEvent",
    "batch_to_bytes",
    "bytes_to_event",
    "check_topic",
    "event_to_bytes",
    "is_end",
]

# Any: metadata is whatever plain values a program likes.
Metadata: TypeAlias = dict[str, Any]

_MAGIC, _VERSION = b"PsEv", 1
# Magic, version, kind; bytes of topic, producer, plain values and body; sequence or count.
_HEADER = struct.Struct("<4sBBHHIQQ")
_CHECKSUM = struct.Struct("<I")
_HEAD_AT = _HEADER.size + _CHECKSUM.size
_END, _BATCH, _OBJECT, _KEY, _FAILED = range(1, 6)
_END_BEGINS = _MAGIC + bytes([_VERSION, _END])


@dataclass(frozen=True, slots=True)
class EndOfStreamEvent:
    """A producer has ended a topic."""

    topic: str
    producer: str = ""


@dataclass(frozen=True, slots=True)
class ProducerFailedEvent:
    """A producer was closed because something in it raised, and will end the topic next."""

    topic: str
    found: str
    """What was raised, as text."""
    producer: str = ""
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class NewObjectEvent:
    """An object that travels in its event."""

    topic: str
    obj: Payload
    """As `proxystore.serialize.serialize` gave it."""
    metadata: Metadata = field(default_factory=dict)
    producer: str = ""
    sequence: int = 0
    """Counts the objects that a producer sent to a topic, from 0 to 2 ** 64 - 1."""


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


Event: TypeAlias = EndOfStreamEvent | ProducerFailedEvent | ObjectEvent | EventBatch


def event_to_bytes(event: Event) -> bytes:
    """The message that carries ``event``.

    Raises:
        EventEncodingError: Metadata, key or store hold something that is not plain.
    """
    return b"".join(_pieces(event))


def batch_to_bytes(topic: str, messages: Sequence[bytes]) -> bytes:
    """The message of an `EventBatch` whose events are ``messages``."""
    return b"".join(_frame(_BATCH, topic, "", len(messages), b"", messages))


def check_topic(topic: object) -> None:
    """Return if events can name ``topic``.

    Raises:
        EventEncodingError: They cannot.
    """
    if not isinstance(topic, str):
        raise EventEncodingError("an event", f"a topic of type {type(topic).__qualname__}")
    _frame(_END, topic, "", 0, b"", ())


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
    if isinstance(event, EventBatch):
        pieces = [piece for each in event.events for piece in _pieces(each)]
        return _frame(_BATCH, event.topic, "", len(event.events), b"", pieces)
    if isinstance(event, EndOfStreamEvent):
        return _frame(_END, event.topic, event.producer, 0, b"", ())
    place = (event.topic, event.producer, event.sequence)
    if isinstance(event, NewObjectEvent):
        plain = dump_plain(event.metadata, "an event") if event.metadata else b""
        return _frame(_OBJECT, *place, plain, as_buffers(event.obj))
    if isinstance(event, ProducerFailedEvent):
        return _frame(_FAILED, *place, dump_plain(event.found, "an event"), ())
    address, name, options = event.store
    values = [event.metadata, event.key, (address, name, dict(options), event.evict)]
    return _frame(_KEY, *place, dump_plain(values, "an event"), ())


def _frame(
    kind: int, topic: str, producer: str, number: int, plain: bytes, body: Sequence[BytesLike]
) -> list[BytesLike]:
    try:
        names = (topic.encode(), producer.encode())
        sizes = (*map(len, names), len(plain), sum(map(payload_nbytes, body)))
        header = _HEADER.pack(_MAGIC, _VERSION, kind, *sizes, number)
    except (UnicodeEncodeError, struct.error) as exc:
        raise EventEncodingError("an event", "a topic that is too long, or no text") from exc
    head = b"".join((*names, plain))
    return [header, _CHECKSUM.pack(zlib.crc32(head, zlib.crc32(header))), head, *body]


def _parse(view: memoryview, *, nested: bool) -> tuple[Event, int]:
    if len(view) < _HEAD_AT:
        raise BadEventError(f"it has {len(view)} bytes, fewer than any event")
    magic, version, kind, *sizes, body_nbytes, number = _HEADER.unpack_from(view)
    if magic != _MAGIC:
        raise BadEventError("it does not begin as events do")
    if version != _VERSION:
        raise BadEventError(f"it is in version {version}, and this one reads {_VERSION}")
    body_at = _HEAD_AT + sum(sizes)
    end = body_at + body_nbytes
    if end > len(view):
        raise BadEventError(f"it was cut: {end - len(view)} bytes are missing")
    head = bytes(view[_HEAD_AT:body_at])
    checksum = zlib.crc32(head, zlib.crc32(view[: _HEADER.size]))
    if checksum != _CHECKSUM.unpack_from(view, _HEADER.size)[0]:
        raise BadEventError("its head was changed on the way")
    read = _READERS.get(kind)
    if read is None or (nested and kind not in {_OBJECT, _KEY}):
        raise BadEventError(f"its kind is {kind}, which is none that can stand there")
    try:
        return read(_Head(head, sizes, number), view[body_at:end]), end
    except (TypeError, ValueError) as exc:
        if isinstance(exc, BadEventError):
            raise
        raise BadEventError("its head lacks fields, or has others than it should") from exc


# Any in the rest of this module: what stood in a head, before it is checked.
class _Head:
    """The head of a frame, taken apart."""

    def __init__(self, head: bytes, sizes: list[int], number: int) -> None:
        topic, producer, plain = sizes
        self.topic = head[:topic].decode()
        self.producer = head[topic : topic + producer].decode()
        self.values: Any = load_plain(head[topic + producer :]) if plain else {}
        self.number = number


def _typed(value: Any, kind: type | tuple[type, ...]) -> Any:
    if not isinstance(value, kind):
        raise BadEventError(f"a {type(value).__name__} stands where another type should")
    return value


def _read_end(head: _Head, body: memoryview) -> EndOfStreamEvent:
    _nothing(body)
    return EndOfStreamEvent(head.topic, head.producer)


def _read_failed(head: _Head, body: memoryview) -> ProducerFailedEvent:
    _nothing(body)
    return ProducerFailedEvent(head.topic, _typed(head.values, str), head.producer, head.number)


def _read_object(head: _Head, body: memoryview) -> NewObjectEvent:
    metadata = _typed(head.values, dict)
    return NewObjectEvent(head.topic, body, metadata, head.producer, head.number)


def _read_key(head: _Head, body: memoryview) -> NewObjectKeyEvent:
    metadata, key, about = head.values
    address, name, options, evict = _typed(about, tuple)
    _nothing(body)
    if isinstance(address, tuple):
        kind, config = address
        address = (_typed(kind, str), _typed(config, dict))
    return NewObjectKeyEvent(
        head.topic,
        _typed(key, tuple),
        StoreReference(_typed(address, (str, tuple)), _typed(name, str), _typed(options, dict)),
        _typed(evict, bool),
        _typed(metadata, dict),
        head.producer,
        head.number,
    )


def _read_batch(head: _Head, body: memoryview) -> EventBatch:
    events: list[ObjectEvent] = []
    while len(body):
        event, end = _parse(body, nested=True)
        assert isinstance(event, (NewObjectEvent, NewObjectKeyEvent))
        events.append(event)
        body = body[end:]
    if len(events) != head.number:
        raise BadEventError(f"it says {head.number} events and has {len(events)}")
    return EventBatch(head.topic, events)


def _nothing(body: memoryview) -> None:
    if len(body):
        raise BadEventError("it has a body, and its kind has none")


_READERS: Mapping[int, Callable[[_Head, memoryview], Event]] = {
    _END: _read_end,
    _OBJECT: _read_object,
    _KEY: _read_key,
    _FAILED: _read_failed,
    _BATCH: _read_batch,
}
