"""`StreamConsumer`: proxies, objects or metadata of one topic, until its last producer ended."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from proxystore.errors import ClosedError, ProxyStoreError
from proxystore.proxy import Proxy, ProxyOr
from proxystore.serialize import deserialize
from proxystore.store import Store, StoreFactory, get_or_create_store
from proxystore.store.reference import address_key
from proxystore_patterns._options import checked_wait
from proxystore_patterns.errors import (
    EndOfStreamError,
    EventObjectMissingError,
    ForbiddenStoreError,
    StreamCapabilityError,
    StreamTimeoutError,
)
from proxystore_patterns.streams._contract import Replaying, Subscriber, check_broker
from proxystore_patterns.streams._delivery import Deliveries
from proxystore_patterns.streams._events import (
    Metadata,
    NewObjectEvent,
    NewObjectKeyEvent,
    ObjectEvent,
)
from proxystore_patterns.streams._filters import Filter, NullFilter
from proxystore_patterns.streams._iteration import AsyncCalls, Calls, Turns

__all__ = ["StreamConsumer"]

T = TypeVar("T")
R = TypeVar("R")

_MISSING = object()
# Of a wait in another thread, so that it ends soon after its task was cancelled.
_SLICE = 0.25


class StreamConsumer(Generic[T]):
    """Receives what producers send to a topic.

    Iterating gives a proxy of each object that is in a store, and the object
    itself if it travelled in its event, until the stream ends; `iter_objects`
    and the like give other views of the same stream. An event counts as used
    when the next one is asked for, or `acknowledge` is called: where the broker
    has groups, another consumer gets what this one was using when it died, and
    `next_object` evicts an object once it was used (a proxy, when it is resolved).
    What arrives twice is given once. An error about one event leaves the stream and
    its iterators usable: ask for the next one. Where the broker has groups, the event
    is given back first, so it comes again, to any consumer, and after its tries goes to
    the dead letters; elsewhere it is gone. A wait that is cancelled loses nothing: what
    came for it is what the next call gives. Belongs to one thread, or event loop, at a time.

    What the stream carries is trusted as much as its broker and stores are: an
    event names the store of its object, and objects may be pickled. ``allow``
    restricts both.

    Args:
        subscriber: Where events come from; closed by `close` unless told otherwise.
        filter_: Leaves out events for whose metadata it says `True`; objects
            that were to be evicted with their first use are.
        timeout: Most seconds to wait for an event. `None` waits for as long as
            the stream lasts, for nobody knows how long producers compute.
        allow: Serializers that objects in events may use, such as
            `proxystore.serialize.SAFE_SERIALIZERS`; `None` allows each.
        stores: The only stores that events may name; `None` opens any.

    Raises:
        ValueError: ``timeout`` is negative or not finite.
        TypeError: ``timeout`` is no number, or ``subscriber`` no subscriber.
    """

    def __init__(
        self,
        subscriber: Subscriber,
        *,
        filter_: Filter | None = None,
        timeout: float | None = None,
        allow: Iterable[str] | None = None,
        stores: Iterable[Store[Any]] | None = None,
    ) -> None:
        check_broker("subscriber", subscriber, "Subscriber", "next_message")
        self._subscriber = subscriber
        self._delivery = Deliveries(subscriber)
        self._filter = filter_ or NullFilter()
        self._timeout = None if timeout is None else checked_wait("timeout", timeout)
        self._allow = None if allow is None else frozenset(allow)
        self._allowed = None if stores is None else tuple(stores)
        self._opened: dict[str, Store[Any]] = {}
        self._turns = Turns()
        # For what is below: a cancelled call leaves a thread to its wait.
        self._lock = threading.Lock()
        self._closed = False
        self._event: ObjectEvent | None = None
        self._loaded: Any = _MISSING
        self._error: Exception | None = None

    # --- One at a time --------------------------------------------------------

    def next(self) -> ProxyOr[T]:
        """The next object, or a proxy of it if it is in a store.

        Raises:
            StopIteration: The last producer has ended.
            StreamTimeoutError: Nothing came within ``timeout``.
            ProducerFailedError: A producer says so, last of all. The stream goes on
                with others, if there are any.
            ProducersLostError: The producers that are left died.
            BadEventError: A message was none of ours. The stream goes on.
            SerializationError: The object in an event is damaged. It goes on.
            BrokerUnavailableError: The broker cannot be reached.
            ClosedError: This consumer is closed.
        """
        found: ProxyOr[T] = self._stopping(self._proxy)
        return found

    def next_with_metadata(self) -> tuple[Metadata, ProxyOr[T]]:
        """As `next`, with its metadata."""
        return self._stopping(lambda event: (event.metadata, self._proxy(event)))

    def next_object(self) -> T:
        """The next object itself.

        Raises:
            EventObjectMissingError: It is not in its store any more. The stream goes on.
        """
        found: T = self._stopping(self._object)
        return found

    def next_object_with_metadata(self) -> tuple[Metadata, T]:
        """As `next_object`, with its metadata."""
        return self._stopping(lambda event: (event.metadata, self._object(event)))

    def next_metadata(self) -> Metadata:
        """The metadata of the next object, which counts as used."""
        return self._stopping(self._metadata)

    # --- Iteration -------------------------------------------------------------

    def __iter__(self) -> Iterator[ProxyOr[T]]:
        return self

    def __next__(self) -> ProxyOr[T]:
        return self.next()

    def iter_with_metadata(self) -> Iterator[tuple[Metadata, ProxyOr[T]]]:
        """Each metadata and `next`, until the stream ends."""
        return Calls(self.next_with_metadata)

    def iter_objects(self) -> Iterator[T]:
        """Each `next_object`. An error about one object does not end the iterator."""
        return Calls(self.next_object)

    def iter_objects_with_metadata(self) -> Iterator[tuple[Metadata, T]]:
        """Each metadata and `next_object`, until the stream ends."""
        return Calls(self.next_object_with_metadata)

    def iter_metadata(self) -> Iterator[Metadata]:
        """Each `next_metadata`, until the stream ends."""
        return Calls(self.next_metadata)

    def __aiter__(self) -> AsyncIterator[ProxyOr[T]]:
        return AsyncCalls(partial(self._anext, self._proxy))

    def aiter_objects(self) -> AsyncIterator[T]:
        """As `iter_objects`, waiting in a thread of this consumer's own."""
        return AsyncCalls(partial(self._anext, self._object))

    def aiter_with_metadata(self) -> AsyncIterator[tuple[Metadata, ProxyOr[T]]]:
        """As `iter_with_metadata`, waiting in a thread of this consumer's own."""
        return AsyncCalls(partial(self._anext, lambda event: (event.metadata, self._proxy(event))))

    # --- Acknowledgement --------------------------------------------------------

    def acknowledge(self) -> None:
        """Say that the last event, and its batch, is used. Does nothing where brokers cannot."""
        with self._lock:
            # What came for a cancelled call nobody has used.
            if self._event is None:
                self._delivery.acknowledge()

    def reject(self) -> None:
        """Give the last event, and its batch, back for another delivery or the dead letters.

        Raises:
            StreamCapabilityError: The broker cannot.
        """
        with self._lock:
            self._delivery.reject()
            self._gave()

    @property
    def offset(self) -> str | int | None:
        """Where the last event stands in its topic, if the broker can replay."""
        message = self._delivery.message
        return None if message is None else message.offset

    def seek(self, offset: str | int) -> None:
        """Go on with the event at ``offset``.

        Raises:
            StreamCapabilityError: The broker cannot.
            ValueError: Its offsets have another form.
        """
        if not isinstance(self._subscriber, Replaying):
            raise StreamCapabilityError("seek()", type(self._subscriber).__name__, "replay")
        with self._lock:
            try:
                self._subscriber.seek(offset)
            except ProxyStoreError:
                raise
            except (ValueError, TypeError) as exc:
                broker = type(self._subscriber).__name__
                raise ValueError(f"offset is one that {broker} gave, not {offset!r}.") from exc
            self._delivery.forget()
            self._gave()

    # --- Closing ------------------------------------------------------------------

    def close(self, *, stores: bool = False, subscriber: bool = True) -> None:
        """Stop receiving. Idempotent. What was not used is left to other consumers.

        Args:
            stores: Close the stores that events named.
            subscriber: Close the subscriber.
        """
        self._closed = True
        self._turns.close()
        if subscriber:
            self._subscriber.close()
        if stores:
            while self._opened:
                self._opened.popitem()[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- Inside --------------------------------------------------------------------

    def _stopping(self, view: Callable[[ObjectEvent], R]) -> R:
        try:
            with self._lock, self._giving():
                return self._take(view, self._timeout)
        except EndOfStreamError as end:
            raise StopIteration from end

    async def _anext(self, view: Callable[[ObjectEvent], R]) -> R:
        try:
            async with self._turns.mine():
                with self._giving():
                    return await self._awaited(view)
        except EndOfStreamError as end:
            raise StopAsyncIteration from end

    async def _awaited(self, view: Callable[[ObjectEvent], R]) -> R:
        waited = 0.0
        while True:
            left = _SLICE if self._timeout is None else min(_SLICE, self._timeout - waited)
            try:
                return await self._turns.run(partial(self._take_locked, view, left))
            except StreamTimeoutError:
                waited += left
                if self._timeout is not None and waited >= self._timeout:
                    topic = self._subscriber.topic
                    raise StreamTimeoutError(topic, "event", self._timeout) from None

    @contextmanager
    def _giving(self) -> Iterator[None]:
        """At its end the caller has what `_take` gave, or raised, unless it was cancelled."""
        try:
            yield
        except Exception:
            self._gave()
            raise
        self._gave()

    def _gave(self) -> None:
        self._event = self._error = None
        self._loaded = _MISSING

    def _take_locked(self, view: Callable[[ObjectEvent], R], timeout: float | None) -> R:
        with self._lock:
            return self._take(view, timeout)

    def _take(self, view: Callable[[ObjectEvent], R], timeout: float | None) -> R:
        """What ``view`` makes of the next event, which it stays until it was given."""
        if self._closed:
            raise ClosedError(type(self).__name__)
        if self._error is not None:
            raise self._error
        try:
            event = self._event = self._event or self._passed(timeout)
            return self._or_reject(view, event)
        except StreamTimeoutError:
            raise
        except Exception as exc:
            self._error = exc
            raise

    def _passed(self, timeout: float | None) -> ObjectEvent:
        """The next event that the filter does not leave out."""
        while True:
            event = self._delivery.next_event(timeout)
            if not self._or_reject(self._left_out, event):
                return event

    def _left_out(self, event: ObjectEvent) -> bool:
        leave_out = self._filter(event.metadata)
        if leave_out:
            self._discard(event)
        return leave_out

    def _or_reject(self, use: Callable[[ObjectEvent], R], event: ObjectEvent) -> R:
        """What ``use`` gives; if it raises, the event is given back."""
        try:
            return use(event)
        except StopIteration as exc:
            self._delivery.reject_if_possible()
            # As itself it would pass for the end of the stream.
            raise RuntimeError("The filter, or an object as it was loaded, raised it.") from exc
        except Exception:
            self._delivery.reject_if_possible()
            raise

    # Any in the rest of this class: objects of every type.
    def _proxy(self, event: ObjectEvent) -> Any:
        if isinstance(event, NewObjectEvent) or self._loaded is not _MISSING:
            return self._object(event)
        store = self._store(event)
        return Proxy(StoreFactory(store.make_key(event.key), store, evict=event.evict))

    def _object(self, event: ObjectEvent) -> Any:
        if isinstance(event, NewObjectEvent):
            return deserialize(event.obj, allow=self._allow)
        if self._loaded is _MISSING:
            # Kept until it is given: it may not be in its store any more.
            self._loaded = self._load(event)
        return self._loaded

    def _load(self, event: NewObjectKeyEvent) -> Any:
        store = self._store(event)
        key = store.make_key(event.key)
        found = store.get(key, default=_MISSING)
        if found is _MISSING:
            raise EventObjectMissingError(event.topic, repr(key), store.name)
        if event.evict:
            self._delivery.after_use(partial(store.evict, key))
        return found

    def _metadata(self, event: ObjectEvent) -> Metadata:
        self._discard(event)
        return event.metadata

    def _discard(self, event: ObjectEvent) -> None:
        if not isinstance(event, NewObjectEvent) and event.evict:
            store = self._store(event)
            store.evict(store.make_key(event.key))

    def _store(self, event: NewObjectKeyEvent) -> Store[Any]:
        address = event.store.address
        name = address_key(address)
        store = self._opened.get(name)
        if store is None or store.closed:
            if self._allowed is None:
                store = get_or_create_store(event.store, register=False)
            else:
                # Before it is opened, for opening may be what a stranger wants.
                store = next((s for s in self._allowed if s.address == address), None)
            if store is None:
                raise ForbiddenStoreError(event.topic, str(address))
            self._opened[name] = store
        return store
