"""The factory of proxies of results that need not be there yet."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar, TypeVar

from proxystore.abc import Capability, Key
from proxystore.errors import CapabilityError, KeyNotSetError
from proxystore.store import Store, StoreFactory
from proxystore.store.reference import Referring
from proxystore.store.types import DeserializerT
from proxystore_patterns.futures._outcomes import TAKEN, Outcome, opened
from proxystore_patterns.futures._waits import Deadline, await_outcome

__all__ = ["FutureFactory", "require_store"]

T = TypeVar("T")

# How long others are told that a result was taken.
_REMEMBERED_SECONDS = 600.0


def require_store(store: Store[Any], *, evict: bool) -> None:
    """Return if ``store`` is one, and can remove results once they were got, if ``evict``.

    Raises:
        TypeError: It is none.
        CapabilityError: Nothing can take the place of a result, and tell that it was taken.
    """
    if not isinstance(store, Store):
        raise TypeError(
            f"future() takes a Store, and got a {type(store).__qualname__}. Open one with "
            f"Store(name, connector)."
        )
    if evict and Capability.REPLACEABLE not in store.capabilities:
        connector = type(store.connector).__name__
        raise CapabilityError("future(evict=True)", connector, Capability.REPLACEABLE.value)


class FutureFactory(StoreFactory[T]):
    """Gives the result of a future, waiting for it. Pickles as a `StoreFactory` does.

    Args:
        key: Of the future.
        store_config: The store, or a config or reference of it.
        evict: Remove the result once it was got, for it is for one consumer.
        deserializer: Use this one instead of the store's.
        timeout: Seconds to wait when it is resolved; `None`: for ever.
        mark: Fields of a key, whose object goes when the lifetime of the result has ended.

    Raises:
        TypeError: ``timeout`` is something else.
        ValueError: It is not a number (NaN).
    """

    passes_errors: ClassVar[bool] = True

    def __init__(
        self,
        key: Key,
        store_config: Referring,
        *,
        evict: bool = False,
        deserializer: DeserializerT | None = None,
        timeout: float | None = None,
        mark: Key | None = None,
    ) -> None:
        super().__init__(key, store_config, evict=evict, deserializer=deserializer)
        # A mistake is told here, not where the proxy is used.
        Deadline(timeout)
        self.timeout, self.mark = timeout, mark

    def resolve(self) -> T:
        """The result.

        Raises:
            Exception: What the producer raised, with its traceback as a note.
            FutureTimeoutError: The future was not done within ``timeout``.
            FutureCancelledError: It was cancelled.
            ProducerDiedError: Its producer began, and died.
            LifetimeEndedError: Its lifetime has ended, and the result with it.
            ObjectNotFoundError: It was evicted.
            ResultTakenError: Another consumer had it, and ``evict``.
            SerializationError: It cannot be deserialized here.
            ConnectorUnavailableError: The medium cannot be reached.
        """
        store, key = self.get_store(), self.key
        watch = store.watch("factory.resolve")
        value: T = self.open(store, key, await_outcome(store, key, self.mark, self.timeout))
        watch.stop(key)
        return value

    # Any: stores with whatever connectors.
    def open(self, store: Store[Any], key: Key, outcome: Outcome) -> T:
        """The value in ``outcome``, which is then removed if it is for one consumer."""
        value: T = opened(store, key, outcome, self.deserializer)
        if self.evict:
            _take(store, key)
        return value

    def waiting(self, timeout: float | None) -> FutureFactory[T]:
        """The same, with another timeout."""
        source: Any = self._store or self._reference
        return FutureFactory(
            self._key,
            source,
            evict=self.evict,
            deserializer=self.deserializer,
            timeout=timeout,
            mark=self.mark,
        )

    def __reduce__(self) -> tuple[object, ...]:
        options = {"timeout": self.timeout, "mark": self.mark}
        state = {name: value for name, value in options.items() if value is not None}
        return (_load, self.plain(), state) if state else (_load, self.plain())

    def __repr__(self) -> str:
        return f"<FutureFactory of {tuple(self._key)!r} in store {self._reference.name!r}>"


def _take(store: Store[Any], key: Key) -> None:
    """Remove a result, and let others know; for a while, where the medium can forget."""
    with suppress(KeyNotSetError):
        store.replace(key, TAKEN)
        if Capability.LEASABLE in store.capabilities:
            store.touch(key, _REMEMBERED_SECONDS)


# Any: what the proxy's pickle has.
def _load(*plain: Any) -> FutureFactory[Any]:
    return FutureFactory.from_plain(*plain)


# Each proxy carries this name: the shorter, the better.
_load.__module__ = "proxystore_patterns.futures"
