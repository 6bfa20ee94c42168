"""`StreamProducer`: objects to topics, bulk by store and events by broker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from uuid import uuid4

from proxystore.abc import Key, Medium
from proxystore.payload import Payload, as_bytes, payload_nbytes
from proxystore.serialize import serialize
from proxystore.store import Store
from proxystore_patterns.errors import (
    EventEncodingError,
    PatternsError,
    TopicClosedError,
)
from proxystore_patterns.streams._contract import Publisher
from proxystore_patterns.streams._credit import Credit, Stored
from proxystore_patterns.streams._events import (
    EventBatch,
    Metadata,
    NewObjectEvent,
    NewObjectKeyEvent,
    ObjectEvent,
    event_to_bytes,
)
from proxystore_patterns.streams._filters import Filter, NullFilter
from proxystore_patterns.streams._outbox import Batching, Outbox, Waiting

__all__ = ["StreamProducer"]

T = TypeVar("T")

_INLINE_NBYTES = 32 * 1024
_UNCHECKED_NBYTES = 1024 * 1024


class StreamProducer(Generic[T]):
    """Sends objects to topics: large ones go by store, small ones in their events.

    A topic ends for its consumers when its last producer has: call
    `close_topics` or `close`, or leave the `with` block. Thread safe; objects
    that one thread sends to a topic arrive in order, where the broker gives
    all of them to one consumer.

    Args:
        publisher: Where events go; closed by `close` unless told otherwise.
        aggregator: Makes one object of those in a batch, which must not change
            until then. Their metadata is united, later ones winning.
        batch_size: Events in a message.
        batch_nbytes: Send a batch before it is full once its objects have so
            many bytes.
        batch_seconds: Send it once its first object has waited so long.
        default_store: Where objects of topics go that `stores` does not name;
            without one they travel in their events, whatever their size.
        filter_: Leaves out objects for whose metadata it says `True`.
        stores: The store of each topic. They stay the caller's.
        inline_nbytes: Objects of up to so many bytes travel in their events.
        max_nbytes_in_flight: Bytes of objects in stores that were sent with
            ``evict=True`` and not used yet; `send` waits for room. One that is
            larger by itself goes when nothing else is in flight.
        send_timeout: Most seconds that `send` waits for room; `None` waits for
            as long as consumers take.
        producers: How many producers each topic has at least: topics do not
            end before so many have begun and ended. Give it where producers
            start at different times.

    Raises:
        ValueError: A bound is zero or negative.
        EventEncodingError: A store has a serializer of its own.
    """

    def __init__(
        self,
        publisher: Publisher,
        *,
        aggregator: Callable[[list[T]], T] | None = None,
        batch_size: int = 1,
        batch_nbytes: int | None = None,
        batch_seconds: float | None = None,
        default_store: Store[Any] | None = None,
        filter_: Filter | None = None,
        stores: Mapping[str, Store[Any]] | None = None,
        inline_nbytes: int = _INLINE_NBYTES,
        max_nbytes_in_flight: int | None = None,
        send_timeout: float | None = None,
        producers: int = 1,
    ) -> None:
        self.id = uuid4().hex
        """Tells this producer from all others."""
        self._publisher, self._aggregator = publisher, aggregator
        self._batching = Batching(batch_size, batch_nbytes, batch_seconds)
        self._default_store, self._stores = default_store, dict(stores or {})
        for store in self._all_stores():
            _check_plain(store)
        self._filter = filter_ or NullFilter()
        self._inline_nbytes, self._producers = inline_nbytes, producers
        self._credit = Credit(max_nbytes_in_flight, send_timeout)
        self._credit_lock = threading.Lock()
        self._lock = threading.Lock()
        self._outboxes: dict[str, Outbox] = {}

    def open_topics(self, *topics: str) -> None:
        """Count this producer among those of ``topics`` now, not at its first `send`."""
        for topic in topics:
            self._outbox(topic)

    def send(
        self, topic: str, obj: T, *, evict: bool = True, metadata: Metadata | None = None
    ) -> None:
        """Send ``obj``, unless the filter leaves it out.

        Args:
            topic: Where to.
            obj: Not used after return, except by an aggregator.
            evict: Let the first use remove the object from its store. Pass
                `False` where the broker gives each event to several consumers,
                and end such objects by other means.
            metadata: Plain values; see `EventEncodingError`.

        Raises:
            TopicClosedError: This producer has ended the topic.
            StreamFullError: There was no room in flight within ``send_timeout``.
            SerializationError: Nothing can serialize the object.
            EventEncodingError: ``metadata`` is not plain.
            BrokerUnavailableError: The batch was not sent; its objects were evicted.
        """
        metadata = dict(metadata or {})
        outbox = self._outbox(topic)
        with outbox.lock:
            if outbox.closed:
                raise TopicClosedError(topic)
            outbox.raise_failure()
            if self._filter(metadata):
                return
            if self._aggregator is not None:
                outbox.waiting.append(Waiting(obj, evict, metadata))
                full = outbox.added(getattr(obj, "nbytes", 0))
            else:
                full = outbox.added(self._add(topic, outbox, obj, metadata, evict=evict))
            if full:
                self._send_batch(topic, outbox)

    def flush(self) -> None:
        """Send what waits in batches, of all topics."""
        for topic in list(self._outboxes):
            self.flush_topic(topic)

    def flush_topic(self, topic: str) -> None:
        """Send what waits in the batch of ``topic``."""
        outbox = self._outboxes.get(topic)
        if outbox is None:
            return
        with outbox.lock:
            outbox.raise_failure()
            self._send_batch(topic, outbox)

    def close_topics(self, *topics: str) -> None:
        """Send what waits, and end ``topics`` for this producer. Idempotent."""
        for topic in topics:
            outbox = self._outbox(topic)
            with outbox.lock:
                if outbox.closed:
                    continue
                outbox.raise_failure()
                self._send_batch(topic, outbox)
                self._publisher.end(topic, self.id)
                outbox.closed = True

    def close(
        self, *, topics: Iterable[str] = (), publisher: bool = True, stores: bool = False
    ) -> None:
        """End every topic that this producer sent to. Idempotent.

        Args:
            topics: Others to end too.
            publisher: Close the publisher.
            stores: Close the stores; consumers cannot use objects any more
                that are in one which owns its medium.
        """
        try:
            self.close_topics(*{**self._outboxes, **dict.fromkeys(topics)})
        finally:
            if publisher:
                self._publisher.close()
            if stores:
                for store in {id(s): s for s in self._all_stores()}.values():
                    store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _all_stores(self) -> list[Store[Any]]:
        default = [] if self._default_store is None else [self._default_store]
        return [*self._stores.values(), *default]

    def _outbox(self, topic: str) -> Outbox:
        outbox = self._outboxes.get(topic)
        if outbox is not None:
            return outbox
        with self._lock:
            if topic not in self._outboxes:
                self._publisher.begin(topic, self.id, producers=self._producers)
                made = Outbox(self._batching, partial(self._flush_due, topic))
                self._outboxes[topic] = made
            return self._outboxes[topic]

    def _flush_due(self, topic: str) -> None:
        outbox = self._outboxes[topic]
        with outbox.lock:
            try:
                self._send_batch(topic, outbox)
            # Whatever it is, the thread that sends next is told of it.
            except Exception as exc:  # noqa: BLE001
                outbox.failure = exc

    # Any in the rest of this class: objects of every type.
    def _add(
        self, topic: str, outbox: Outbox, obj: Any, metadata: Metadata, *, evict: bool
    ) -> int:
        """Append the event of ``obj``; its bytes."""
        store = self._stores.get(topic, self._default_store)
        payload = _payload(obj, store)
        nbytes = payload_nbytes(payload)
        if store is not None and nbytes > self._inline_nbytes:
            key = self._put(topic, outbox, store, payload, evict=evict)
            place = (store.plain_key(key), store.reference, evict)
            event: ObjectEvent = NewObjectKeyEvent(
                topic, *place, metadata, self.id, outbox.next_sequence()
            )
        else:
            # Copied if it waits, for the caller may change the object.
            inline = as_bytes(payload) if self._batching.buffers else payload
            event = NewObjectEvent(topic, inline, metadata, self.id, outbox.next_sequence())
        outbox.events.append(event)
        return nbytes

    def _put(
        self, topic: str, outbox: Outbox, store: Store[Any], payload: Payload, *, evict: bool
    ) -> Key:
        nbytes = payload_nbytes(payload)
        if not self._credit.has_room(nbytes):
            # Or it would wait for consumers to use what they were not told of.
            self._send_events(topic, outbox)
            with self._credit_lock:
                self._credit.make_room(topic, nbytes)
        key: Key = store.put(payload, serializer=_as_it_is)
        if evict:
            outbox.stored.append(Stored(store, key, nbytes))
        return key

    def _send_batch(self, topic: str, outbox: Outbox) -> None:
        if outbox.waiting:
            assert self._aggregator is not None
            waiting, outbox.waiting = outbox.waiting, []
            united = {name: v for each in waiting for name, v in each.metadata.items()}
            obj = self._aggregator([each.obj for each in waiting])
            evict = any(each.evict for each in waiting)
            self._add(topic, outbox, obj, united, evict=evict)
        self._send_events(topic, outbox)

    def _send_events(self, topic: str, outbox: Outbox) -> None:
        events, stored = outbox.events, outbox.stored
        outbox.emptied()
        if not events:
            return
        try:
            message = event_to_bytes(events[0] if len(events) == 1 else EventBatch(topic, events))
            self._publisher.send_message(topic, message)
        except PatternsError:
            for each in stored:
                each.store.evict(each.key)
            raise
        with self._credit_lock:
            self._credit.add(stored)


def _payload(obj: Any, store: Store[Any] | None) -> Payload:
    medium = None if store is None else getattr(store.connector, "medium", None)
    in_memory = medium in {Medium.PROCESS, Medium.SHARED_MEMORY}
    # As the store would: a check of a large object costs as much as a copy there.
    return serialize(obj, checksum_below=_UNCHECKED_NBYTES if in_memory else None)


def _check_plain(store: Store[Any]) -> None:
    if store.serializer is not None or store.deserializer is not None:
        raise EventEncodingError(
            f"objects of store {store.name!r}",
            "a serializer or deserializer of its own (call register_serializer() instead)",
        )


def _as_it_is(payload: Any) -> Any:
    return payload
