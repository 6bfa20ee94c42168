"""Streams: objects to topics, bulk by store and events by broker.

Brokers are in `proxystore_patterns.streams.brokers`, one module each, with an extra of the
same name for each that needs a library.
"""

from __future__ import annotations

from proxystore_patterns.streams._consumer import StreamConsumer
from proxystore_patterns.streams._contract import (
    Acknowledging,
    BrokerCapability,
    Delivery,
    Message,
    Publisher,
    Replaying,
    Subscriber,
)
from proxystore_patterns.streams._events import (
    EndOfStreamEvent,
    Event,
    EventBatch,
    Metadata,
    NewObjectEvent,
    NewObjectKeyEvent,
    ProducerFailedEvent,
    bytes_to_event,
    event_to_bytes,
)
from proxystore_patterns.streams._filters import Filter, NullFilter, SamplingFilter
from proxystore_patterns.streams._producer import StreamProducer

__all__ = [
    "Acknowledging",
    "BrokerCapability",
    "Delivery",
    "EndOfStreamEvent",
    "Event",
    "EventBatch",
    "Filter",
    "Message",
    "Metadata",
    "NewObjectEvent",
    "NewObjectKeyEvent",
    "NullFilter",
    "ProducerFailedEvent",
    "Publisher",
    "Replaying",
    "SamplingFilter",
    "StreamConsumer",
    "StreamProducer",
    "Subscriber",
    "bytes_to_event",
    "event_to_bytes",
]
