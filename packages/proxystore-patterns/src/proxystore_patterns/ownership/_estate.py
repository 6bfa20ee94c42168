"""What is owned, as every process that has a reference to it knows it."""

from __future__ import annotations

from typing import Any, NamedTuple

from proxystore.abc import Key
from proxystore.proxy import Proxy
from proxystore.store import Store, StoreFactory
from proxystore.store.types import SerializerT
from proxystore_patterns.ownership._records import Records

__all__ = ["Estate"]


class Estate(NamedTuple):
    """What is owned, as any process can know it."""

    plain: Proxy[Any]  # Any: a target of any type.
    """An unresolved proxy of the object."""
    name: str
    """Of its records."""
    lease: float | None
    """Seconds that the object outlives an owner that died; `None`: it does not end."""
    borrow_lease: float
    """Seconds that a borrow outlives a borrower that died."""

    @property
    def factory(self) -> StoreFactory[Any]:
        """Gets the object."""
        # Of a store, as into_owned() saw to.
        factory: StoreFactory[Any] = self.plain.__proxy_factory__
        return factory

    @property
    def store(self) -> Store[Any]:
        """Where the object is."""
        return self.factory.get_store()

    @property
    def key(self) -> Key:
        """Of the object."""
        return self.factory.key

    def records(self) -> Records:
        """The records of the object."""
        return Records(self.store, self.name)

    def is_there(self) -> bool:
        """Whether the object is in the store."""
        # The cache may still have what another process removed.
        self.store.cache.evict(self.key)
        return self.store.exists(self.key)

    def load(self) -> Any:
        """The object as it is in the store, which nobody else in this process has."""
        # Who may change it must not share it with others who get it from the cache.
        self.store.cache.evict(self.key)
        target = self.factory.resolve()
        self.store.cache.evict(self.key)
        return target

    def replace(self, target: Any, serializer: SerializerT | None) -> None:
        """Put ``target`` in place of the object."""
        self.store.replace(self.key, target, serializer=serializer)
