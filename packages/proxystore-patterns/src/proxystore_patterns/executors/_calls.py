"""What runs in place of a task's function, where its result is to go by store."""

from __future__ import annotations

import functools
import os
import pickle
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, ParamSpec, Self, TypeVar

from proxystore.abc import Capability
from proxystore.errors import CapabilityError
from proxystore.proxy import Proxy
from proxystore.store import Store, get_key, get_or_create_store
from proxystore.store.reference import StoreReference
from proxystore_patterns._options import checked_count, refusal
from proxystore_patterns.executors._lent import arrive, lend, returned, settle
from proxystore_patterns.executors._policy import ProxyPolicy, checked_policy, is_chosen, replace
from proxystore_patterns.executors._results import Homing, Landing, Marked

__all__ = ["Call", "ManyCalls", "Terms", "proxied", "unreachable"]

P = ParamSpec("P")
T = TypeVar("T")


# Any in this module: stores with whatever connectors, results of every type.
class Terms(NamedTuple):
    """Which results go by store, and which store. Pickles wherever stores can be reached."""

    reference: StoreReference
    policy: ProxyPolicy
    depth: int
    landing: Landing | None
    """What who submitted makes of results: who knows of none is told of no proxies in them."""
    homing: bool
    """Whether results land by themselves."""
    confined: tuple[int, str] | None
    """The process that the store does not leave, and its connector; or it reaches others."""

    @classmethod
    def of(
        cls,
        asked: str,
        store: Store[Any],
        policy: ProxyPolicy,
        depth: int,
        landing: Landing | None = None,
        *,
        homing: bool = False,
    ) -> Self:
        """The terms for ``store``, of which errors name who ``asked`` for them.

        Raises:
            ValueError: ``depth`` is negative.
            TypeError: One of them is something else.
        """
        # Not isinstance, which resolves a proxy.
        if not issubclass(type(store), Store):
            raise TypeError(refusal(asked, "a Store, such as Store()", store))
        checked_policy(asked, policy)
        depth = checked_count(f"{asked}(depth=)", depth, least=0)
        reaches = Capability.CROSS_PROCESS in store.capabilities
        confined = None if reaches else (os.getpid(), type(store.connector).__name__)
        return cls(store.reference, policy, depth, landing, homing, confined)

    def applied(self, result: Any, made: list[Proxy[Any]]) -> Any:
        """``result`` with what goes by store replaced, by proxies that are added to ``made``."""
        if self.depth:
            return replace(result, self.depth, partial(self._visit, made))
        return self._visit(made, result)

    def reported(self, given: Any, made: list[Proxy[Any]], depth: int) -> Any:
        """What to send of a result.

        Args:
            given: What `applied` gave.
            made: The proxies that it made, which are in there.
            depth: How far down.
        """
        if not made or self.landing is None:
            return given
        marked = Marked(given, made, depth)
        return Homing(marked, self.landing) if self.homing else marked

    def _visit(self, made: list[Proxy[Any]], value: Any) -> Any:
        if isinstance(value, Proxy):
            inner = returned(value)
            return value if inner is value else self._visit(made, inner)
        if not is_chosen(self.policy, value):
            return value
        made.append(self._proxy(value))
        return made[-1]

    def _proxy(self, value: Any) -> Proxy[Any]:
        store = get_or_create_store(self.reference, register=False)
        proxy: Proxy[Any] = store.proxy(value, populate_target=False, inline=False)
        # What is owned goes when its owner goes, whatever tasks it was given to meanwhile.
        return lend(store, get_key(proxy), like=proxy) if self._is_owned else proxy

    @property
    def _is_owned(self) -> bool:
        return self.landing is not None and self.landing.owned


class Call:
    """Calls ``function``, and applies terms to what it returns.

    Equal to others with the same function and terms, for engines remember functions.

    Args:
        function: Of the task.
        terms: Pickled, once for all calls: a process opens each only once.
    """

    __slots__ = ("__weakref__", "function", "terms")

    def __init__(self, function: Callable[..., Any], terms: bytes) -> None:
        self.function, self.terms = function, terms

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result of the function, or what stands for it."""
        terms = _opened(self.terms)
        made: list[Proxy[Any]] = []
        given = terms.applied(self._result(args, kwargs, terms.depth), made)
        return terms.reported(given, made, terms.depth)

    def _result(self, args: tuple[Any, ...], kwargs: dict[str, Any], depth: int) -> Any:
        if not (depth or kwargs or any(isinstance(each, _FROM_TASKS) for each in args)):
            # Most tasks get nothing by store, and pay no more for it than this.
            return self.function(*args)
        lent: list[weakref.ref[Proxy[Any]]] = []
        arrived = partial(_arrived, lent)
        given = [replace(each, depth, arrived) for each in args]
        for name, each in kwargs.items():
            kwargs[name] = replace(each, depth, arrived)
        result = self.function(*given, **kwargs)
        given.clear()
        kwargs.clear()
        settle(lent)
        return result

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.function, self.terms)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._facts == other._facts

    def __hash__(self) -> int:
        return hash(self._facts)

    @property
    def _facts(self) -> tuple[Any, ...]:
        return self.function, self.terms

    @property
    def __name__(self) -> str:
        # Engines show it, and some name tasks after it.
        return getattr(self.function, "__name__", type(self.function).__name__)


class ManyCalls(Call):
    """Calls ``function`` once for each of many arguments, in one task."""

    __slots__ = ()

    def __call__(self, calls: list[tuple[Any, ...]]) -> Any:
        """The results, in order."""
        terms = _opened(self.terms)
        made: list[Proxy[Any]] = []
        given = [terms.applied(self._result(args, {}, terms.depth), made) for args in calls]
        return terms.reported(given, made, terms.depth + 1)


_FROM_TASKS = (Proxy, Marked)


def _arrived(lent: list[weakref.ref[Proxy[Any]]], value: Any) -> Any:
    # A result of another task, which its engine passed on.
    if type(value) is Marked:
        value = value.result
    if not isinstance(value, Proxy):
        return value
    arrived = arrive(value)
    lent.append(weakref.ref(arrived))
    return arrived


@functools.lru_cache(maxsize=64)
def _opened(terms: bytes) -> Terms:
    opened: Terms = pickle.loads(terms)
    if opened.confined is not None and opened.confined[0] != os.getpid():
        raise unreachable(opened.confined[1])
    return opened


def unreachable(connector: str) -> CapabilityError:
    """What to raise where tasks run in other processes, and ``connector`` does not."""
    return CapabilityError(
        "A store for tasks in other processes", connector, Capability.CROSS_PROCESS.value
    )


def proxied(
    store: Store[Any], should_proxy: ProxyPolicy, *, depth: int = 0
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorates a function so that what it returns goes by ``store``, if ``should_proxy`` says so.

    For engines that take decorated functions: put it below the engine's own decorator. The
    result is typed as if nothing had happened, and can be used so. It stays in the store
    until somebody evicts it, or its store ends. Of Parsl's apps `use_store` moves results:
    Parsl takes for a function whatever could be called, which a proxy says of itself.

    Args:
        store: Its connector must reach wherever the function runs.
        should_proxy: Asked of each result, there.
        depth: How far to look into lists, tuples and dicts for what goes by store.

    Raises:
        ValueError: ``depth`` is negative.
        TypeError: One of them is something else.
    """
    terms = Terms.of("proxied", store, should_proxy, depth)

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            result: T = terms.applied(function(*args, **kwargs), [])
            return result

        return call

    return decorate
