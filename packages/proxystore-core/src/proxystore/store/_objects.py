"""Objects in and out of a connector: serialized, cached, one load per key at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Generic

from proxystore.abc import Capability, Connector, Key, Lifetime, Medium
from proxystore.connectors.load import adapt, unadapted
from proxystore.errors import SerializationError, StoreClosedError
from proxystore.payload import BytesLike, payload_nbytes
from proxystore.store._codec import Codec, KeptBytes, is_mapped
from proxystore.store._first import UNKNOWN, FirstLoad
from proxystore.store._flight import Flights
from proxystore.store._watch import NO_WATCH, Watch
from proxystore.store._whereabouts import Whereabouts
from proxystore.store.cache import LRUCache
from proxystore.store.options import StoreOptions
from proxystore.store.reference import StoreReference
from proxystore.store.types import Address, ConnectorT, DeserializerT, SerializerT

__all__ = ["MISSING", "ObjectStore"]

# Stored with buffers like arrays, but nobody can write to them.
_IMMUTABLE = frozenset({bytes, str})

MISSING = object()
"""Stands for the object that is not there; `None` may be one that is."""


# Any in this module: objects of every type, and options of connectors.
class ObjectStore(Generic[ConnectorT]):
    """Puts objects into a connector and gets them back.

    Holds no lock while a connector works: threads that get the same object at
    the same time share one request, and different objects move in parallel.

    Args:
        name: A label; the default is the identity.
        connector: Adapted if it knows only the contract of the older system.
        options: See `Store`.
    """

    def __init__(self, name: str | None, connector: ConnectorT, options: StoreOptions) -> None:
        self.options = options
        self.cache = LRUCache(options.cache_size, options.cache_nbytes)
        """Objects that were got, by key."""
        self._got = LRUCache(options.cache_size, 0)
        """Keys of arrays that were got, and are not in the cache yet."""
        self.closed = False
        self._connector: Connector[Any] = adapt(connector)
        self._capabilities = self._connector.capabilities
        self._replaceable: Any = (
            self._connector if Capability.REPLACEABLE in self._capabilities else None
        )
        self._codec = Codec(options, self._connector.medium)
        self._flights: Flights[Any] = Flights()
        self._metrics = _metrics() if options.metrics else None
        self._whereabouts = Whereabouts(self.connector)
        self._name = self.identity if name is None else name
        self._url_reference: StoreReference | None = None
        if self.url is not None:
            self._url_reference = self._refer()

    @property
    def connector(self) -> ConnectorT:
        """The connector that the store was given."""
        given: ConnectorT = unadapted(self._connector)
        return given

    @property
    def name(self) -> str:
        """A label; other stores may have the same."""
        return self._name

    @property
    def identity(self) -> str:
        """What tells the store from others everywhere: 16 hex digits of where its objects are."""
        return self._whereabouts.identity

    @property
    def url(self) -> str | None:
        """Where the objects are, if the connector can be made from a URL."""
        return self._whereabouts.url

    @property
    def address(self) -> Address:
        """Where other processes find the objects: `url`, or else kind and config."""
        return self._whereabouts.address

    @property
    def reference(self) -> StoreReference:
        """What proxies carry of the store."""
        return self._url_reference or self._refer()

    def make_key(self, fields: Iterable[Any]) -> Key:
        """The key of the connector's own type with these plain fields."""
        key_type = self._connector.key_type
        key: Key = tuple(fields) if key_type is tuple else key_type(*fields)
        return key

    def plain_key(self, key: Key) -> Key:
        """What `make_key` makes ``key`` from: a plain tuple, where the connector has a key type."""
        return key if self._connector.key_type is tuple else tuple(key)

    def put(
        self,
        obj: Any,
        *,
        lifetime: Lifetime | None = None,
        serializer: SerializerT | None = None,
        **kwargs: Any,
    ) -> Key:
        """Store ``obj`` under a fresh key.

        Args:
            obj: Not used after return; changes to it do not reach the store.
            lifetime: Evicts the object when it ends.
            serializer: Used instead of the store's.
            kwargs: Passed to the connector's `put`, such as ``ttl``.

        Raises:
            SerializationError: Nothing can serialize the object.
            MediumFullError: There is no room. Nothing was stored.
            ConnectorUnavailableError: The medium cannot be reached.
        """
        self._check_open()
        watch = self.watch("store.put")
        payload = self._codec.dump(obj, serializer)
        watch.lap("serialize")
        key: Key = self._connector.put(payload, **kwargs)
        watch.lap("connector")
        self._added((key,), lifetime)
        watch.note("object_size", payload_nbytes(payload))
        watch.stop(key)
        return key

    def put_batch(
        self,
        objs: Iterable[Any],
        *,
        lifetime: Lifetime | None = None,
        serializer: SerializerT | None = None,
        **kwargs: Any,
    ) -> list[Key]:
        """Store each object; the keys come back in the same order. See `put`."""
        self._check_open()
        watch = self.watch("store.put_batch")
        payloads = [self._codec.dump(obj, serializer) for obj in objs]
        watch.lap("serialize")
        keys: list[Key] = self._connector.put_batch(payloads, **kwargs)
        watch.lap("connector")
        self._added(keys, lifetime)
        watch.note("object_sizes", [payload_nbytes(payload) for payload in payloads])
        watch.stop(tuple(keys))
        return keys

    def get(
        self, key: Key, *, deserializer: DeserializerT | None = None, default: Any = None
    ) -> Any:
        """The object of ``key``, or ``default`` if there is none.

        Objects with memory of their own, such as arrays, data frames and
        dicts of arrays, are new for each caller, who may write to them. Of others,
        callers get the same one while it is in the cache: copy before changing it.

        Args:
            key: From this store, or from another one of the same medium.
            deserializer: Used instead of the store's. Gets `bytes`.
            default: Returned if there is no object.

        Raises:
            SerializationError: The object is damaged or cannot be deserialized.
            ConnectorUnavailableError: The medium cannot be reached.
        """
        self._check_open()
        watch = self.watch("store.get")
        first = self._first_load(key, deserializer)
        found = UNKNOWN if first is None else first.latest(self._flights.run(first.name, first))
        if found is UNKNOWN:
            tag = self._tag(key, deserializer)
            found = self._own(self.cache.get(key, MISSING, tag=tag), tag)
            watch.count("cache_misses" if found is MISSING else "cache_hits")
            if found is MISSING:
                found = self._flights.run((key, tag), partial(self._load, key, tag))
        else:
            watch.count("cache_misses")
        watch.stop(key)
        return default if found is MISSING else found

    def get_batch(
        self,
        keys: Sequence[Key],
        *,
        deserializer: DeserializerT | None = None,
        default: Any = None,
    ) -> list[Any]:
        """The object of each key, in order, ``default`` where there is none.

        What is not cached is asked of the connector in one request.
        """
        self._check_open()
        tags = {key: self._tag(key, deserializer) for key in keys}
        found = {
            key: self._own(self.cache.get(key, MISSING, tag=tag), tag) for key, tag in tags.items()
        }
        absent = [key for key, obj in found.items() if obj is MISSING]
        for key, data in zip(absent, self._connector.get_batch(absent), strict=True):
            found[key] = self._loaded(key, data, tags[key])
        return [default if found[key] is MISSING else found[key] for key in keys]

    def exists(self, key: Key) -> bool:
        """Whether `get` would find an object now."""
        self._check_open()
        watch = self.watch("store.exists")
        found = self._replaceable is None and self.cache.exists(key)
        if not found:
            found = self._connector.exists(key)
            watch.lap("connector")
        watch.stop(key)
        return found

    def evict(self, key: Key) -> None:
        """Remove the object. Evicting an absent key does nothing."""
        self._check_open()
        watch = self.watch("store.evict")
        self._connector.evict(key)
        watch.lap("connector")
        self.cache.evict(key)
        watch.stop(key)

    def is_cached(self, key: Key) -> bool:
        """Whether the object is in this process's cache. Asks nobody."""
        return self.cache.exists(key)

    def watch(self, event: str) -> Watch:
        """Follow an event, if the store has metrics."""
        return NO_WATCH if self._metrics is None else self._metrics.watch(event)

    def _first_load(self, key: Key, deserializer: DeserializerT | None) -> FirstLoad | None:
        """How to load what may be replaced, and of which nothing is cached."""
        try:
            if self._replaceable is None or not self.cache.lacks(key):
                return None
        except TypeError:
            # Unhashable, so no key: the connector says what is wrong with it.
            return None

        def load() -> tuple[Any, int | None]:
            watch = self.watch("store.get")
            data, generation = self._get_with_generation(key)
            return self._loaded(key, data, (deserializer, generation), watch), generation

        return FirstLoad((key, deserializer), load, partial(self._replaceable.generation, key))

    def _get_with_generation(self, key: Key) -> tuple[BytesLike | None, int | None]:
        at_once = getattr(self._connector, "get_with_generation", None)
        if at_once is not None:
            both: tuple[BytesLike | None, int | None] = at_once(key)
            return both
        # In this order: what is replaced in between is loaded again at the next look.
        generation = self._replaceable.generation(key)
        return self._connector.get(key), generation

    def _load(self, key: Key, tag: tuple[Any, Any]) -> Any:
        # Again: a flight may have landed since the caller looked.
        found = self._own(self.cache.peek(key, MISSING, tag=tag), tag)
        if found is not MISSING:
            return found
        watch = self.watch("store.get")
        return self._loaded(key, self._connector.get(key), tag, watch)

    def _loaded(
        self, key: Key, data: BytesLike | None, tag: tuple[Any, Any], watch: Watch = NO_WATCH
    ) -> Any:
        watch.lap("connector")
        if data is None:
            return MISSING
        is_kept = self._keeps_bytes(key, data, tag)
        if is_kept:
            # The caller may write to what it gets, which must not be what is kept.
            data = memoryview(data).toreadonly()
        try:
            obj = self._codec.load(data, tag[0])
        except SerializationError as error:
            error.add_note(f"This is object {key} of store {self.name!r} ({self._connector!r}).")
            raise
        watch.lap("deserialize")
        watch.note("object_size", len(data))
        watch.stop(key, total=False)
        # What appeared since its generation was asked for has none to be known by:
        # cached, it would answer for the absent object that it is after an evict.
        if self._replaceable is None or tag[1] is not None:
            kept = KeptBytes(memoryview(data)) if is_kept else None
            self._keep(key, obj, data, tag, kept)
        return obj

    def _keeps_bytes(self, key: Key, data: BytesLike, tag: tuple[Any, Any]) -> bool:
        """Whether to cache the bytes of an object, for each caller to get its own views of them.

        Not what is in memory already: reading it anew costs less than a copy. Nor what is
        got for the first time: most proxies are used by one task, which is given the bytes
        themselves, where keeping them would cost a copy (half of the time at 1 MB).
        """
        if (
            self._connector.medium is Medium.SHARED_MEMORY
            or self._codec.readonly
            or self._is_shared(data)
            or not self.cache.has_room(len(data))
            or not self._codec.gives_views(data, tag[0])
        ):
            return False
        if self._got.exists(key):
            return True
        self._got.set(key, None)
        return False

    def _is_shared(self, data: BytesLike) -> bool:
        """Whether the bytes are a file's, which every process that reads it shares."""
        return self._connector.medium is not Medium.NETWORK and is_mapped(data)

    def _keep(
        self, key: Key, obj: Any, data: BytesLike, tag: tuple[Any, Any], kept: KeptBytes | None
    ) -> None:
        if type(obj) in _IMMUTABLE or not self._codec.gives_views(data, tag[0]):
            self.cache.set(key, obj, len(data), tag=tag)
        elif self._codec.readonly:
            self.cache.set(key, obj, len(data), tag=tag, weak=self._is_shared(data))
        elif kept is not None:
            self.cache.set(key, kept, len(data), tag=tag)
        # Otherwise nobody else may get it, or `x += 1` in one task would change what
        # the next one computes with.

    def _own(self, found: Any, tag: tuple[Any, Any]) -> Any:
        """What was found in the cache, as something that the caller may write to."""
        return self._codec.load(found.data, tag[0]) if type(found) is KeptBytes else found

    def _tag(self, key: Key, deserializer: DeserializerT | None) -> tuple[Any, Any]:
        """What an object in the cache must agree in to be the one that is asked for.

        The generation is read before the bytes: should the object be replaced
        in between, the next look finds another generation and loads again.
        """
        if self._replaceable is None:
            return deserializer, None
        return deserializer, self._replaceable.generation(key)

    def _refer(self) -> StoreReference:
        return StoreReference(self.address, self.name, self.options.changed())

    def _added(self, keys: Sequence[Key], lifetime: Lifetime | None) -> None:
        if lifetime is not None:
            lifetime.add_key(*keys, store=self)

    def _check_open(self) -> None:
        if self.closed:
            raise StoreClosedError(f"Store {self.name!r}")


def _metrics() -> Any:
    # dataclasses take 10 ms to import, which most stores can do without.
    from proxystore.store.metrics import StoreMetrics

    return StoreMetrics()
