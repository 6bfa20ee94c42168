"""`StoreExecutor`: any executor, with large arguments and results going by store."""

from __future__ import annotations

import contextlib
import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, TypeVar

from proxystore.abc import Key
from proxystore.errors import ProxyStoreError
from proxystore.proxy import Proxy, get_factory
from proxystore.store import Store, StoreFactory
from proxystore_patterns.executors._calls import Call, Marked, Terms
from proxystore_patterns.executors._policy import ProxyNever, ProxyPolicy, is_chosen, replace
from proxystore_patterns.ownership import into_owned

__all__ = ["StoreExecutor"]

T = TypeVar("T")


# Any in this module: arguments and results of tasks, executors of other libraries.
class StoreExecutor(Executor):
    """Runs tasks on ``executor``; arguments and results that are large go by ``store``.

    Functions see no difference: a proxy is used as the object. An argument is evicted when
    its task has ended, however it ended. A result belongs to who submitted: it is an
    `OwnedProxy`, and goes with it. So nothing is left when all futures are dropped.

    Works with `concurrent.futures` pools, `parsl.concurrent.ParslPoolExecutor`, Globus
    Compute's ``Executor``, what ``Client.get_executor()`` of Dask gives, and `RayExecutor`.
    Thread safe.

    Args:
        executor: Whatever has a ``submit`` that gives futures. Closed with this.
        store: Its connector must reach wherever tasks run.
        should_proxy: Which objects go by store, asked here of arguments and there of
            results; the default proxies none. See `ProxySize`.
        depth: How far to look into lists, tuples and dicts for what goes by store.
        ownership: Own the results. Otherwise they are proxies that stay until somebody
            evicts them.
        close_store: Close the store with this.

    Raises:
        TypeError: ``executor`` cannot submit.
    """

    def __init__(
        self,
        executor: Any,
        store: Store[Any],
        should_proxy: ProxyPolicy | None = None,
        *,
        depth: int = 0,
        ownership: bool = True,
        close_store: bool = True,
    ) -> None:
        if not callable(getattr(executor, "submit", None)):
            raise TypeError(
                f"A StoreExecutor runs its tasks on another executor. A "
                f"{type(executor).__qualname__} has no submit(): pass a "
                f"concurrent.futures.Executor, or what an engine offers as one."
            )
        self.executor, self.store = executor, store
        self.should_proxy = ProxyNever() if should_proxy is None else should_proxy
        self.depth, self.ownership, self.close_store = depth, ownership, close_store
        self._terms: bytes | None = None
        if type(self.should_proxy) is not ProxyNever:
            terms = Terms(store.reference, self.should_proxy, depth, marks=ownership)
            self._terms = pickle.dumps(terms)

    # Not typed by the function's signature: some arguments become proxies.
    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As `Executor.submit`.

        Raises:
            SerializationError: An argument that goes by store cannot be serialized.
            MediumFullError: The store has no room. Nothing was submitted.
        """
        if self._terms is None:
            submitted: Future[T] = self.executor.submit(function, *args, **kwargs)
            return submitted
        inputs = _Inputs(self.store)
        chooses = partial(is_chosen, self.should_proxy)
        give = partial(replace, depth=self.depth, chooses=chooses, make=inputs.proxy)
        try:
            future = self.executor.submit(
                Call(function, self._terms),
                *[give(each) for each in args],
                **{name: give(each) for name, each in kwargs.items()},
            )
        except BaseException:
            inputs.evict()
            raise
        if inputs.keys:
            future.add_done_callback(inputs.evict)
        return _Owning(future, self.depth) if self.ownership else future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **_: Any,
    ) -> Iterator[T]:
        """As `Executor.map`; each item goes by store if it is to.

        Args:
            fn: The function.
            *iterables: Read to their end at once.
            timeout: Seconds from now until the last result must be there.
            chunksize: Without effect: each task has its own arguments to evict.

        Raises:
            TimeoutError: Raised by the iterator, after ``timeout``.
        """
        return super().map(fn, *iterables, timeout=timeout)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the base class has it
        """Shut the executor down, and close the store unless that was not to be.

        Args:
            wait: Return when all tasks have ended. Otherwise the store is closed once they
                have, by one of the executor's threads.
            cancel_futures: Do not begin what has not begun.
        """
        if isinstance(self.executor, Executor):
            self.executor.shutdown(wait=wait, cancel_futures=cancel_futures)
        elif callable(getattr(self.executor, "close", None)):
            self.executor.close()
        else:
            warnings.warn(
                f"A {type(self.executor).__qualname__} can neither shut down nor close: it "
                f"is left as it is.",
                RuntimeWarning,
                stacklevel=2,
            )
        if self.close_store:
            self.store.close()


class _Inputs:
    """The objects that were stored for one task."""

    def __init__(self, store: Store[Any]) -> None:
        self._store = store
        self.keys: list[Key] = []

    def proxy(self, obj: Any) -> Any:
        proxy = self._store.proxy(obj)
        factory = get_factory(proxy)
        # Small ones may travel in their proxies, and need no evicting.
        if isinstance(factory, StoreFactory):
            self.keys.append(factory.key)
        return proxy

    def evict(self, _: object = None) -> None:
        for key in self.keys:
            # Closed, or gone: then its objects are too, and nobody waits for this.
            with contextlib.suppress(ProxyStoreError):
                self._store.evict(key)


class _Owning(Future[T]):
    """A future whose result is owned; everything else is its original's.

    Args:
        original: What the executor gave.
        depth: How far down the proxies may be that were made for the result.
    """

    def __init__(self, original: Any, depth: int) -> None:
        super().__init__()
        self._original, self._depth = original, depth
        original.add_done_callback(self._land)

    def cancel(self) -> bool:
        """As `Future.cancel`."""
        return bool(self._original.cancel())

    def running(self) -> bool:
        """As `Future.running`."""
        return not self.done() and bool(self._original.running())

    def _land(self, original: Any) -> None:
        if original.cancelled():
            super().cancel()
            self.set_running_or_notify_cancel()
            return
        error = original.exception()
        if error is None:
            self.set_result(_owned(original.result(), self._depth))
        else:
            self.set_exception(error)


def _owned(result: Any, depth: int) -> Any:
    """The result, with the proxies that were made for it owned."""
    if type(result) is not Marked:
        return result
    made = {id(proxy): proxy for proxy in result.made}
    return replace(result.result, depth, lambda value: id(value) in made, _own)


def _own(proxy: Proxy[Any]) -> Any:
    # Small ones may travel in their proxies, and need no owner.
    return into_owned(proxy) if isinstance(get_factory(proxy), StoreFactory) else proxy
