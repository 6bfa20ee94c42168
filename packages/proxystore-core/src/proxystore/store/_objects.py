"""Objects in and out of a connector: serialized, cached, one load per key at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Generic

from proxystore.abc import Capability, Connector, Key, Lifetime, Medium
from proxystore.connectors.load import adapt, unadapted
from proxystore.errors import SerializationError, StoreClosedError
from proxystore.payload import BytesLike, Payload, payload_nbytes
from proxystore.store._codec import Codec, KeptBytes, is_mapped
from proxystore.store._flight import Flights
from proxystore.store._watch import NO_WATCH, Watch
from proxystore.store._whereabouts import Whereabouts
from proxystore.store.cache import CacheShare, LRUCache
from proxystore.store.options import StoreOptions
from proxystore.store.reference import StoreReference
from proxystore.store.types import Address, ConnectorT, DeserializerT, SerializerT

__all__ = ["MISSING", "UNKNOWN", "Landed", "ObjectStore"]

# Stored with buffers like arrays, but nobody can write to them.
_IMMUTABLE = frozenset({bytes, str})

MISSING = object()
"""Stands for the object that is not there; `None` may be one that is."""

UNKNOWN = object()
"""Stands for an object that is not to be had from somebody else's load."""

# Any: objects of every type.
Landed = tuple[Any, int | None]
"""What a load has for those who did not lead it, and the generation of the object."""


# Any in this module: objects of every type, and options of connectors.
class ObjectStore(Generic[ConnectorT]):
    """Puts objects into a connector and gets them back.

    Holds no lock while a connector works: threads that get the same object at
    the same time share one request, and different objects move in parallel.

    Args:
        name: A label; the default is the identity.
        connector: Adapted if it knows only the contract of the older system.
        options: See `Store`.
        cache: Shared with other stores; the default is one of its own.
    """

    def __init__(
        self,
        name: str | None,
        connector: ConnectorT,
        options: StoreOptions,
        cache: LRUCache | None = None,
    ) -> None:
        self.options = options
        self.cache: LRUCache | CacheShare = (
            LRUCache(options.cache_size, options.cache_nbytes) if cache is None else cache.share()
        )
        """Objects that were got, by key."""
        self._got = LRUCache(self.cache.maxsize, 0)
        """Keys of arrays that were got, and are not in the cache yet."""
        self.closed = False
        self._connector: Connector[Any] = adapt(connector)
        self._capabilities = self._connector.capabilities
        self._replaceable: Any = (
            self._connector if Capability.REPLACEABLE in self._capabilities else None
        )
        # Any: a method that some connectors have.
        self._gets_both: Any = getattr(self._connector, "get_with_generation", None)
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
        return self._put(payload, lifetime, kwargs, watch)

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
        found = self._cached(key, deserializer)
        watch.count("cache_misses" if found is MISSING else "cache_hits")
        if found is MISSING:
            found = self._fetched(key, deserializer)
        watch.stop(key)
        return default if found is MISSING else found

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

    def _put(
        self, payload: Payload, lifetime: Lifetime | None, options: dict[str, Any], watch: Watch
    ) -> Key:
        key: Key = self._connector.put(payload, **options)
        watch.lap("connector")
        self._added((key,), lifetime)
        watch.note("object_size", payload_nbytes(payload))
        watch.stop(key)
        return key

    def _cached(self, key: Key, deserializer: DeserializerT | None) -> Any:
        """The object in the cache, if it is the latest."""
        if self._lacks(key):
            return MISSING
        tag = self._tag(key, deserializer)
        return self._own(self.cache.get(key, MISSING, tag=tag), deserializer)

    def _lacks(self, key: Key) -> bool:
        """Whether nothing of the object is cached, so that nobody needs to ask its generation."""
        try:
            return self._replaceable is not None and self.cache.lacks(key)
        except TypeError:
            # Unhashable, so no key: the connector says what is wrong with it.
            return False

    def _fetched(self, key: Key, deserializer: DeserializerT | None) -> Any:
        """The object in the medium, by one request for all who ask at the same time."""
        found = UNKNOWN
        while found is UNKNOWN:
            own: list[Any] = []
            load = partial(self._load, key, deserializer, own)
            landed = self._flights.run((key, deserializer), load)
            found = own[0] if own else self._joined(key, deserializer, landed)
        return found

    def _load(self, key: Key, deserializer: DeserializerT | None, own: list[Any]) -> Landed:
        """Get the object: into ``own`` for who leads, and what the others get."""
        if self._replaceable is None:
            # Again: a flight may have landed since the caller looked.
            found = self.cache.peek(key, MISSING, tag=(deserializer, None))
            if found is not MISSING:
                own.append(self._own(found, deserializer))
                return found, None
        watch = self.watch("store.get")
        data, generation = self._get_with_generation(key)
        seal = partial(self._flights.seal, (key, deserializer))
        obj, others = self._loaded(key, data, (deserializer, generation), seal, watch)
        own.append(obj)
        return others, generation

    def _joined(self, key: Key, deserializer: DeserializerT | None, landed: Landed) -> Any:
        """What one who joined a flight gets; `UNKNOWN` if it may not be the latest.

        A replace may have ended before it joined, but after the leader had asked.
        """
        found, generation = landed
        if self._replaceable is not None and generation != self._replaceable.generation(key):
            return UNKNOWN
        if found is not UNKNOWN:
            return self._own(found, deserializer)
        # The leader's is a view of what costs nothing to map once more.
        own: list[Any] = []
        self._load(key, deserializer, own)
        return own[0]

    def _get_with_generation(self, key: Key) -> tuple[BytesLike | None, int | None]:
        if self._replaceable is None:
            return self._connector.get(key), None
        if self._gets_both is not None:
            both: tuple[BytesLike | None, int | None] = self._gets_both(key)
            return both
        # In this order: what is replaced in between is loaded again at the next look.
        generation = self._replaceable.generation(key)
        return self._connector.get(key), generation

    def _loaded(
        self,
        key: Key,
        data: BytesLike | None,
        tag: tuple[Any, Any],
        seal: Callable[[], bool],
        watch: Watch,
    ) -> tuple[Any, Any]:
        """The object of ``data``, and what others may get of it: `UNKNOWN` is nothing."""
        watch.lap("connector")
        if data is None:
            return MISSING, MISSING
        is_view = self._codec.gives_views(data, tag[0])
        kept: KeptBytes | None = None
        if is_view and self._keeps_bytes(key, data, seal):
            # The caller may write to what it gets, which must not be what is kept.
            data = memoryview(data).toreadonly()
            kept = KeptBytes(data)
        obj = self._decoded(key, data, tag[0])
        watch.lap("deserialize")
        watch.note("object_size", len(data))
        watch.stop(key, total=False)
        is_fixed = type(obj) in _IMMUTABLE
        if not is_view or is_fixed or self._codec.readonly:
            others = obj
        else:
            # Or `x += 1` in one task would change what the next one computes with.
            others = UNKNOWN if kept is None else kept
        # What appeared since its generation was asked for has none to be known by:
        # cached, it would answer for the absent object that it is after an evict.
        if others is not UNKNOWN and (self._replaceable is None or tag[1] is not None):
            weak = is_view and not is_fixed and self._codec.readonly and self._is_shared(data)
            self.cache.set(key, others, len(data), tag=tag, weak=weak)
        return obj, others

    def _decoded(self, key: Key, data: BytesLike, deserializer: DeserializerT | None) -> Any:
        try:
            return self._codec.load(data, deserializer)
        except SerializationError as error:
            error.add_note(f"This is object {key} of store {self.name!r} ({self._connector!r}).")
            raise

    def _keeps_bytes(self, key: Key, data: BytesLike, seal: Callable[[], bool]) -> bool:
        """Whether to keep the bytes of an object, for each caller to get its own views of them.

        Not what is in memory already: reading it anew costs less than a copy. Nor what is
        got for the first time: most proxies are used by one task, which is given the bytes
        themselves, where keeping them would cost a copy (half of the time at 1 MB).
        """
        if (
            self._connector.medium is Medium.SHARED_MEMORY
            or self._codec.readonly
            or self._is_shared(data)
        ):
            return False
        if seal():
            return True
        if not self.cache.has_room(len(data)):
            return False
        if self._got.exists(key):
            return True
        self._got.set(key, None)
        return False

    def _is_shared(self, data: BytesLike) -> bool:
        """Whether the bytes are a file's, which every process that reads it shares."""
        return self._connector.medium is not Medium.NETWORK and is_mapped(data)

    def _own(self, found: Any, deserializer: DeserializerT | None) -> Any:
        """What was kept, as something that the caller may write to."""
        return self._codec.load(found.data, deserializer) if type(found) is KeptBytes else found

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
