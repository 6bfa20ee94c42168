"""What runs in place of a task's function, where its result is to go by store."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, ParamSpec, TypeVar

from proxystore.proxy import Proxy
from proxystore.store import Store, get_or_create_store
from proxystore.store.reference import StoreReference
from proxystore_patterns.executors._policy import ProxyPolicy, is_chosen, replace

__all__ = ["Call", "Marked", "Terms", "proxied"]

P = ParamSpec("P")
T = TypeVar("T")


# Any in this module: stores with whatever connectors, results of every type.
class Terms(NamedTuple):
    """Which results go by store, and which store. Pickles wherever stores can be reached."""

    reference: StoreReference
    policy: ProxyPolicy
    depth: int
    marks: bool
    """Whether who gets a result wants to know which proxies were made for it."""

    def applied(self, result: Any) -> Any:
        """``result`` with what goes by store replaced, as `Marked` if that is wanted."""
        made: list[Proxy[Any]] = []

        def proxy(obj: Any) -> Any:
            store = get_or_create_store(self.reference, register=False)
            made.append(store.proxy(obj, populate_target=False))
            return made[-1]

        given = replace(result, self.depth, partial(is_chosen, self.policy), proxy)
        return Marked(given, made) if made and self.marks else given


class Marked(NamedTuple):
    """A result, and those proxies in it that were made for it."""

    result: Any
    made: list[Proxy[Any]]


class Call:
    """Calls ``function``, and applies terms to what it returns.

    Args:
        function: Of the task.
        terms: Pickled, once for all calls: a process opens each only once.
    """

    __slots__ = ("function", "terms")

    def __init__(self, function: Callable[..., Any], terms: bytes) -> None:
        self.function, self.terms = function, terms

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result of the function, or what stands for it."""
        return _opened(self.terms).applied(self.function(*args, **kwargs))

    def __reduce__(self) -> tuple[Any, ...]:
        return Call, (self.function, self.terms)

    @property
    def __name__(self) -> str:
        # Engines show it, and some name tasks after it.
        return getattr(self.function, "__name__", type(self.function).__name__)


@functools.lru_cache(maxsize=64)
def _opened(terms: bytes) -> Terms:
    opened: Terms = pickle.loads(terms)
    return opened


def proxied(
    store: Store[Any], should_proxy: ProxyPolicy, *, depth: int = 0
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorates a function so that what it returns goes by ``store``, if ``should_proxy`` says so.

    For engines that take decorated functions, such as Parsl's apps: put it below the
    engine's own decorator. The result is typed as if nothing had happened, and can be used
    so. It stays in the store until somebody evicts it, or its lifetime or store ends.

    Args:
        store: Its connector must reach wherever the function runs.
        should_proxy: Asked of each result, there.
        depth: How far to look into lists, tuples and dicts for what goes by store.
    """
    terms = Terms(store.reference, should_proxy, depth, marks=False)

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            result: T = terms.applied(function(*args, **kwargs))
            return result

        return call

    return decorate
