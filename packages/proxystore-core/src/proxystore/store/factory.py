"""What a proxy of a stored object resolves with."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Self, TypeVar

from proxystore.abc import Key
from proxystore.errors import MediumGoneError, ObjectNotFoundError
from proxystore.factory import Factory
from proxystore.proxy._card import measured
from proxystore.store._objects import ObjectStore
from proxystore.store.reference import Referring, StoreReference, address_key
from proxystore.store.registry import STORES
from proxystore.store.types import Address, DeserializerT

if TYPE_CHECKING:
    from proxystore.store.base import Store
    from proxystore.store.config import StoreConfig

__all__ = ["StoreFactory"]

T = TypeVar("T")
_MISSING = object()


class StoreFactory(Factory[T]):
    """Gets one object from a store, which it opens where the store is not open yet.

    Pickles to the address of the store and the plain fields of the key: no
    class by reference, so that unpickling imports nothing. Thread safe.

    Args:
        key: Of the object.
        store_config: The store, or a config of it.
        evict: Remove the object once it was got.
        deserializer: Use this one instead of the store's.
    """

    def __init__(
        self,
        key: Key,
        store_config: Referring,
        *,
        evict: bool = False,
        deserializer: DeserializerT | None = None,
    ) -> None:
        self._key = key
        self._reference: StoreReference = store_config.reference
        # Kept, so that a store lives as long as its proxies in the process that made it.
        # Any: a rebuilt store has whatever connector its address names.
        self._store: Any = store_config if isinstance(store_config, ObjectStore) else None
        self.evict = evict
        self.deserializer = deserializer
        self._measured: dict[str, str] = {}

    @property
    def key(self) -> Key:
        """The key of the object; opens the store where only the plain fields are known."""
        if type(self._key) is tuple:
            self._key = self.get_store().make_key(self._key)
        return self._key

    @property
    def reference(self) -> StoreReference:
        """Where the store is. Opens nothing."""
        return self._reference

    @property
    def store_config(self) -> StoreConfig:
        """A config of the store."""
        return self.get_store().config()

    @property
    def source(self) -> Hashable:
        """Equal for factories that get their objects by the same store."""
        return address_key(self._reference.address) if self._store is None else id(self._store)

    def get_store(self) -> Store[Any]:
        """The open store of the object, opened and kept if there is none here."""
        if self._store is None or self._store.closed:
            self._store = STORES.obtain(self._reference)
        store: Store[Any] = self._store
        return store

    def resolve(self) -> T:
        """The object.

        Raises:
            ObjectNotFoundError: It is not in the store any more.
            SerializationError: It could not be deserialized.
            ConnectorUnavailableError: The medium cannot be reached.
        """
        store, key = self.get_store(), self.key
        watch = store.watch("factory.resolve")
        try:
            found = store.get(key, deserializer=self.deserializer, default=_MISSING)
        except MediumGoneError:
            # Or it would go on to answer to its name, beside the store that has it next.
            STORES.forget_opened(store)
            raise
        if found is _MISSING:
            raise ObjectNotFoundError(
                repr(key), type(store.connector).__name__, store.name, evicting=self.evict
            )
        if self.evict:
            store.evict(key)
        watch.stop(key)
        return found  # type: ignore[no-any-return]

    def facts(self) -> dict[str, object]:
        """Store and key, and what `remember` found out in this process."""
        return {
            **self._measured,
            "store": self._reference.name,
            "key": repr(self._key),
        }

    def remember(self, obj: T) -> None:
        """Note shape, dtype and size of ``obj``, the object of the key, for `facts`."""
        self._measured = measured(obj)

    def __reduce__(self) -> tuple[object, ...]:
        return _load, self.plain()

    # Any in these two: options and deserializers.
    def plain(self) -> tuple[Any, ...]:
        """What `from_plain` makes an equal factory of, in any process: what is pickled."""
        address, name, options = self._reference
        key = self._key if self._store is None else self._store.plain_key(self._key)
        if self.deserializer is not None:
            return address, key, name, dict(options), self.evict, self.deserializer
        if options or self.evict:
            return address, key, name, dict(options), self.evict
        return address, key, name

    @classmethod
    def from_plain(
        cls,
        address: Address,
        key: Key,
        name: str,
        options: dict[str, Any] | None = None,
        evict: bool = False,  # noqa: FBT001, FBT002 - from a pickle
        deserializer: DeserializerT | None = None,
    ) -> Self:
        """The factory that is `plain` so. A subclass is pickled as a function that calls this."""
        reference = StoreReference(address, name, options or {})
        return cls(key, reference, evict=evict, deserializer=deserializer)

    def __repr__(self) -> str:
        return f"<StoreFactory of {tuple(self._key)!r} in store {self._reference.name!r}>"


# Any: what the proxy's pickle has.
def _load(*plain: Any) -> StoreFactory[Any]:
    return StoreFactory.from_plain(*plain)


# Each proxy carries this name: the shorter, the better.
_load.__module__ = "proxystore.store"
