"""What is stored and held for one task."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from proxystore.abc import Key
from proxystore.errors import ProxyStoreError
from proxystore.proxy import Proxy, get_factory
from proxystore.store import Store
from proxystore_patterns.executors._futures import TaskFuture, unsendable
from proxystore_patterns.executors._lent import lend, returned
from proxystore_patterns.executors._policy import ProxyPolicy, is_chosen, replace
from proxystore_patterns.ownership import OwnedProxy, borrow

__all__ = ["Arguments"]


# Any in this module: arguments of every type, stores with whatever connectors.
class Arguments:
    """The arguments of one task: stored for it, or kept alive until it has ended.

    Args:
        store: Where they go.
        policy: Which of them.
        depth: How far to look into them.
        takes_futures: Whether they may be futures, to be given on as they are.
    """

    __slots__ = ("_depth", "_held", "_keys", "_policy", "_store", "_takes_futures")

    def __init__(
        self, store: Store[Any], policy: ProxyPolicy, depth: int, *, takes_futures: bool
    ) -> None:
        self._store, self._policy, self._depth = store, policy, depth
        self._takes_futures = takes_futures
        self._keys: list[Key] = []
        self._held: list[Any] = []

    def all(self, values: Iterable[Any]) -> list[Any]:
        """What the task gets for each of its arguments. Ends if that cannot be."""
        try:
            return [replace(value, self._depth, self._visit) for value in values]
        except BaseException:
            self.end()
            raise

    def named(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """As `all`, of those with names."""
        return dict(zip(values, self.all(values.values()), strict=True)) if values else {}

    @property
    def are_plain(self) -> bool:
        """Whether nothing was stored for the task, and nothing is held."""
        return not (self._keys or self._held)

    def end(self) -> None:
        """The task has ended: evict what was stored for it, and keep nothing alive."""
        self._held.clear()
        keys, self._keys = self._keys, []
        for key in keys:
            # Closed, or gone: then its objects are too, and nobody waits for this.
            with contextlib.suppress(ProxyStoreError):
                self._store.evict(key)

    def _visit(self, value: Any) -> Any:
        if isinstance(value, (Proxy, Future)):
            return self._passed_on(value)
        if not is_chosen(self._policy, value):
            return value
        key = self._store.put(value)
        self._keys.append(key)
        return lend(self._store, key, target=value)

    def _passed_on(self, value: Any) -> Any:
        """What the task gets for what came of another one, or for a proxy."""
        # Not isinstance, which resolves a proxy of another kind: a future's would wait here.
        kind = type(value)
        if kind is TaskFuture and value.is_of_engine:
            return self._later(value)
        if issubclass(kind, OwnedProxy):
            return self._borrowed(value)
        if not issubclass(kind, Proxy):
            if not self._takes_futures:
                raise unsendable()
            return value
        inner = returned(value)
        return value if inner is value else self._visit(inner)

    def _later(self, future: TaskFuture) -> Any:
        """What an engine that takes futures gets: its own. The result lives as long as ours."""
        self._held.append(future)
        original = future.original
        if original is not None:
            return original
        failed = future.cancelled() or future.exception() is not None
        return future if failed else self._visit(future.result())

    def _borrowed(self, owned: OwnedProxy[Any]) -> Any:
        # The borrow stays here: the task needs none of its own, for this outlives it.
        self._held.append(borrow(owned))
        # Any: its type says what the factory gives, not what it is.
        factory: Any = get_factory(owned)
        estate = factory.estate
        return lend(estate.store, estate.key, like=estate.plain)
