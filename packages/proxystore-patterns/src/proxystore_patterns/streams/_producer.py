"""`StreamProducer`: objects to topics, bulk by store and events by broker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from uuid import uuid4

from proxystore.abc import Key
from proxystore.errors import ClosedError
from proxystore.host.forks import remake_in_child
from proxystore.payload import Payload, payload_nbytes
from proxystore.store import Store
from proxystore_patterns._options import checked_count, checked_wait
from proxystore_patterns.errors import TopicClosedError
from proxystore_patterns.streams._contract import Publisher, check_broker
from proxystore_patterns.streams._credit import Credit, Stored
from proxystore_patterns.streams._events import (
    Metadata,
    NewObjectEvent,
    NewObjectKeyEvent,
    ProducerFailedEvent,
    batch_to_bytes,
    check_topic,
    event_to_bytes,
)
from proxystore_patterns.streams._filters import Filter, NullFilter
from proxystore_patterns.streams._outbox import Batching, Outbox, Waiting
from proxystore_patterns.streams._sendable import as_it_is, check_plain, payload_of, snapshot

__all__ = ["StreamProducer"]

T = TypeVar("T")

_INLINE_NBYTES = 32 * 1024
_TOLD_CHARACTERS = 500


class StreamProducer(Generic[T]):
    """Sends objects to topics: large ones go by store, small ones in their events.

    A topic ends for its consumers when its last producer has: call
    `close_topics` or `close`, or leave the `with` block. If the block raises, what
    was sent before arrives, and then a consumer of each of the topics (every one,
    where the broker gives each event to all) is told by `ProducerFailedError`.
    Thread safe; objects that one thread sends to a topic arrive in order, where the
    broker gives all of them to one consumer. A forked child sends as a producer of
    its own, if the publisher can be used there.

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
        max_nbytes_in_flight: Bytes of objects in stores, sent with ``evict=True``,
            that are not used yet; `send` of another waits for room. One that is
            larger by itself goes when nothing else is in flight.
        send_timeout: Most seconds that `send` waits for room; `None` waits for
            as long as consumers take.
        producers: How many producers each topic has at least: topics do not
            end before so many have begun and ended. Give it where producers
            start at different times; by Redis, at most a ``lease`` of its
            publishers after the last one was alive, or the run is lost.

    Raises:
        ValueError: A bound is zero, negative or not finite.
        TypeError: A bound is no number, or ``publisher`` no publisher.
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
        check_broker("publisher", publisher, "Publisher", "send_message")
        self._publisher, self._aggregator = publisher, aggregator
        self._batching = Batching(batch_size, batch_nbytes, batch_seconds)
        self._default_store, self._stores = default_store, dict(stores or {})
        for store in self._all_stores():
            check_plain(store)
        self._filter = filter_ or NullFilter()
        self._inline_nbytes = checked_count("inline_nbytes", inline_nbytes, least=0)
        self._producers = checked_count("producers", producers)
        self._send_timeout = (
            None if send_timeout is None else checked_wait("send_timeout", send_timeout)
        )
        self._bound = max_nbytes_in_flight
        if self._bound is not None:
            checked_count("max_nbytes_in_flight", self._bound)
        self._closed = False
        self.remade_in_child()
        remake_in_child(self)

    def remade_in_child(self) -> None:
        """Send as another producer, for consumers leave out a number that comes twice."""
        self.id = uuid4().hex
        """Tells this producer from all others."""
        self._credit = Credit(self._bound, self._send_timeout)
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
            ClosedError: This producer is closed.
            StreamFullError: There was no room in flight within ``send_timeout``.
            SerializationError: Nothing can serialize the object.
            EventEncodingError: ``metadata`` or ``topic`` is not plain.
            BrokerUnavailableError: The batch was not sent; its objects were evicted.

        An error of a batch that went by time is raised by the next call for its
        topic, once, which then does nothing else.
        """
        metadata = snapshot(metadata)
        outbox = self._outbox(topic)
        with outbox.lock:
            if outbox.closed:
                raise ClosedError(type(self).__name__) if self._closed else TopicClosedError(topic)
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
        """Send what waits in batches, of each topic, also if one raises."""
        with ExitStack() as flushing:
            for topic in list(self._outboxes):
                flushing.callback(self.flush_topic, topic)

    def flush_topic(self, topic: str) -> None:
        """Send what waits in the batch of ``topic``."""
        outbox = self._outboxes.get(topic)
        if outbox is None:
            return
        with outbox.lock:
            outbox.raise_failure()
            self._send_batch(topic, outbox)

    def close_topics(self, *topics: str) -> None:
        """Send what waits, and end ``topics`` for this producer, each of them. Idempotent.

        Raises:
            Exception: A batch could not be made or sent. Consumers of its topic are
                told by `ProducerFailedError`, and the topic is ended.
            BrokerUnavailableError: A topic could not be ended.
        """
        with ExitStack() as closing:
            for topic in topics:
                closing.callback(self._close_topic, topic, None)

    def close(
        self, *, topics: Iterable[str] = (), publisher: bool = True, stores: bool = False
    ) -> None:
        """As `close_topics`, of every topic that this producer sent to. Idempotent.

        Args:
            topics: Others to end too.
            publisher: Close the publisher.
            stores: Close the stores; consumers cannot use objects any more
                that are in one which owns its medium.
        """
        self._close(topics, None, publisher=publisher, stores=stores)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close((), exc, publisher=True, stores=False)

    def _all_stores(self) -> list[Store[Any]]:
        default = [] if self._default_store is None else [self._default_store]
        return [*self._stores.values(), *default]

    def _close(
        self,
        topics: Iterable[str],
        failure: BaseException | None,
        *,
        publisher: bool,
        stores: bool,
    ) -> None:
        with self._lock:
            open_topics = () if self._closed else {**self._outboxes, **dict.fromkeys(topics)}
            self._closed = True
        with ExitStack() as closing:
            if stores:
                for store in {id(s): s for s in self._all_stores()}.values():
                    closing.callback(store.close)
            if publisher:
                closing.callback(self._publisher.close)
            for topic in open_topics:
                closing.callback(self._close_topic, topic, failure)

    def _close_topic(self, topic: str, failure: BaseException | None) -> None:
        outbox = self._opened(topic)
        with outbox.lock:
            if outbox.closed:
                return
            try:
                outbox.raise_failure()
                self._send_batch(topic, outbox)
            except Exception as exc:
                self._end(topic, outbox, exc)
                raise
            self._end(topic, outbox, failure)

    def _end(self, topic: str, outbox: Outbox, failure: BaseException | None) -> None:
        if failure is not None:
            found = f"{type(failure).__name__}: {failure}"[:_TOLD_CHARACTERS]
            said = ProducerFailedEvent(topic, found, self.id, outbox.next_sequence())
            self._publisher.send_message(topic, event_to_bytes(said))
        self._publisher.end(topic, self.id)
        outbox.closed = True

    def _outbox(self, topic: str) -> Outbox:
        outbox = self._outboxes.get(topic)
        if outbox is None and self._closed:
            raise ClosedError(type(self).__name__)
        return outbox or self._opened(topic)

    def _opened(self, topic: str) -> Outbox:
        with self._lock:
            if topic not in self._outboxes:
                check_topic(topic)
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
                outbox.failure = outbox.failure or exc

    def _flush_idle(self) -> None:
        """Send batches of objects that take room, and of which nobody was told."""
        for topic, outbox in list(self._outboxes.items()):
            # Whoever has the lock sends them, or comes to wait for room after he did.
            if outbox.stored and outbox.lock.acquire(blocking=False):
                try:
                    self._flush_due(topic)
                finally:
                    outbox.lock.release()

    # Any in the rest of this class: objects of every type.
    def _add(self, topic: str, outbox: Outbox, obj: Any, metadata: Metadata, *, evict: bool) -> int:
        """Append the event of ``obj``; its bytes."""
        store = self._stores.get(topic, self._default_store)
        payload = payload_of(obj, store)
        nbytes = payload_nbytes(payload)
        if store is None or nbytes <= self._inline_nbytes:
            number = outbox.next_sequence()
            inline = NewObjectEvent(topic, payload, metadata, self.id, number)
            outbox.messages.append(event_to_bytes(inline))
            return nbytes
        stored = self._put(topic, outbox, store, payload, evict=evict)
        try:
            place = (store.plain_key(stored.key), store.reference, evict)
            event = NewObjectKeyEvent(topic, *place, metadata, self.id, outbox.next_sequence())
            outbox.messages.append(event_to_bytes(event))
        except Exception:
            self._take_back([stored])
            raise
        outbox.stored.append(stored)
        return nbytes

    def _put(
        self, topic: str, outbox: Outbox, store: Store[Any], payload: Payload, *, evict: bool
    ) -> Stored:
        nbytes = payload_nbytes(payload)
        if evict and not self._credit.take(nbytes):
            # Or it would wait for consumers to use what they were not told of.
            self._send_messages(topic, outbox)
            self._credit.wait_for_room(topic, nbytes, self._flush_idle)
        try:
            key: Key = store.put(payload, serializer=as_it_is)
        except BaseException:
            if evict:
                self._credit.give_back(nbytes)
            raise
        return Stored(store, key, nbytes, evict)

    def _send_batch(self, topic: str, outbox: Outbox) -> None:
        waiting = outbox.take_waiting()
        if waiting:
            assert self._aggregator is not None
            united = {name: v for each in waiting for name, v in each.metadata.items()}
            obj = self._aggregator([each.obj for each in waiting])
            evict = any(each.evict for each in waiting)
            self._add(topic, outbox, obj, united, evict=evict)
        self._send_messages(topic, outbox)

    def _send_messages(self, topic: str, outbox: Outbox) -> None:
        messages, stored = outbox.take_messages()
        if not messages:
            return
        try:
            message = messages[0] if len(messages) == 1 else batch_to_bytes(topic, messages)
            self._publisher.send_message(topic, message)
        except Exception:
            self._take_back(stored)
            raise
        self._credit.sent(stored)

    def _take_back(self, stored: Iterable[Stored]) -> None:
        with ExitStack() as evicting:
            for each in stored:
                if each.evict:
                    self._credit.give_back(each.nbytes)
                evicting.callback(each.store.evict, each.key)
