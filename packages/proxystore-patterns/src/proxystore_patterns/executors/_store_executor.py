"""`StoreExecutor`: any executor, with large arguments and results going by store."""

from __future__ import annotations

import itertools
import pickle
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from functools import partial
from typing import Any, TypeVar

from proxystore.store import Store
from proxystore_patterns.errors import ExecutorShutDownError
from proxystore_patterns.executors._arguments import Arguments
from proxystore_patterns.executors._calls import Call, ManyCalls, Terms, unreachable
from proxystore_patterns.executors._futures import TaskFuture
from proxystore_patterns.executors._policy import ProxyNever, ProxyPolicy, checked_sending
from proxystore_patterns.executors._results import Landing, User
from proxystore_patterns.lifetimes._ends import at_end

__all__ = ["StoreExecutor"]

T = TypeVar("T")


# Any in this module: arguments and results of tasks, executors of other libraries.
class StoreExecutor(Executor):
    """Runs tasks on ``executor``; arguments and results that are large go by ``store``.

    Functions see no difference: a proxy is used as the object, and may be changed and
    returned. An argument is evicted when its task has ended, however it ended. A result
    belongs to who submitted: it is an `OwnedProxy`, and goes with it. Given to another
    task, it is borrowed until that ends. So nothing is left when all futures are dropped,
    but for the result of a task whose process was killed before it could say what it had stored:
    that stays until its store ends.

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
        close_store: Close the store when this was shut down and all tasks have ended; but at the
            exit of the interpreter if any result went by it, for results may be used until then.
            Close it yourself to end it, and them, earlier.

    Raises:
        TypeError: ``executor`` cannot submit, ``should_proxy`` cannot be called or pickled, or
            one of the others is something else.
        ValueError: ``depth`` is negative.
        CapabilityError: It runs processes, and the store's connector reaches this one only.
            Of executors that do not show it, the tasks raise this.
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
        user = User()
        self._landing = Landing(ownership, user.number)
        self._user: User | None = user
        self._is_shut = False
        # It unpickles results here and once.
        self._homing = isinstance(executor, ProcessPoolExecutor)
        terms = Terms.of(
            "StoreExecutor", store, self.should_proxy, depth, self._landing, homing=self._homing
        )
        if self._homing and terms.confined is not None:
            raise unreachable(terms.confined[1])
        checked_sending("StoreExecutor", self.should_proxy)
        self._terms = pickle.dumps(terms)

    # Not typed by the function's signature: some arguments become proxies.
    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As `Executor.submit`.

        Raises:
            SerializationError: An argument that goes by store cannot be serialized.
            MediumFullError: The store has no room. Nothing was submitted.
            ExecutorShutDownError: This was shut down.
        """
        self._check_running()
        arguments = self._arguments()
        given, named = arguments.all(args), arguments.named(kwargs)
        return self._start(Call(function, self._terms), given, named, arguments)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[T]:
        """As `Executor.map`; each item goes by store if it is to.

        Args:
            fn: The function.
            *iterables: Read to their end at once.
            timeout: Seconds from now until the last result must be there.
            chunksize: How many calls to make in one task. Their items are evicted when all
                of them were made.

        Raises:
            TimeoutError: Raised by the iterator, after ``timeout``.
            ValueError: ``chunksize`` is below 1.
            ExecutorShutDownError: This was shut down.
        """
        if chunksize < 1:
            raise ValueError(f"A task makes 1 call or more. Got chunksize={chunksize}.")
        self._check_running()
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        call = ManyCalls(fn, self._terms)

        def start(chunk: list[tuple[Any, ...]]) -> Future[Any]:
            arguments = self._arguments()
            return self._start(call, [[*map(arguments.all, chunk)]], {}, arguments)

        calls = zip(*iterables, strict=False)
        chunks = iter(lambda: list(itertools.islice(calls, chunksize)), [])
        return _results([start(chunk) for chunk in chunks], deadline)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the base class has it
        """Shut the executor down, and close the store unless that was not to be.

        Args:
            wait: Return when all tasks have ended. Otherwise the store is closed later, by
                one of the executor's threads, if no result went by it.
            cancel_futures: Do not begin what has not begun.
        """
        self._is_shut = True
        if self._homing and not wait:
            # Its tasks use the store, and their futures do not tell.
            shut = partial(self._shut, wait=True, cancel_futures=cancel_futures)
            threading.Thread(target=shut, name="proxystore-shutdown").start()
        else:
            self._shut(wait=wait, cancel_futures=cancel_futures)

    def _shut(self, *, wait: bool, cancel_futures: bool) -> None:
        if isinstance(self.executor, Executor):
            self._shut_executor(wait=wait, cancel_futures=cancel_futures)
        elif callable(getattr(self.executor, "close", None)):
            self.executor.close()
        else:
            warnings.warn(
                f"A {type(self.executor).__qualname__} can neither shut down nor close: it "
                f"is left as it is.",
                RuntimeWarning,
                stacklevel=3,
            )
        if self.close_store and self._user is not None:
            others, self._user = weakref.ref(self._user), None
            _close_after(others(), self.store)

    def _shut_executor(self, *, wait: bool, cancel_futures: bool) -> None:
        # Some engines cannot cancel, and their shutdown() does not know the word.
        if cancel_futures:
            self.executor.shutdown(wait=wait, cancel_futures=True)
        else:
            self.executor.shutdown(wait=wait)

    def _arguments(self) -> Arguments:
        return Arguments(self.store, self.should_proxy, self.depth, takes_futures=not self._homing)

    def _start(
        self,
        call: Call,
        given: list[Any],
        named: dict[str, Any],
        arguments: Arguments,
    ) -> Future[Any]:
        try:
            future: Future[Any] = self.executor.submit(call, *given, **named)
        except BaseException:
            arguments.end()
            raise
        if self._homing and arguments.are_plain:
            # Another future around it would cost more than all the rest.
            return future
        return TaskFuture(future, arguments.end, self._landing, self._user)

    def _check_running(self) -> None:
        if self._is_shut:
            raise ExecutorShutDownError("this StoreExecutor")


def _close_after(user: User | None, store: Store[Any]) -> None:
    """Close ``store`` when ``user`` is gone, at the exit of the interpreter at the latest."""
    if user is None:
        store.close()
    else:
        at_end(user, store.close)


def _results(futures: list[Future[Any]], deadline: float | None) -> Iterator[Any]:
    """What is in the lists that ``futures`` give; cancels the others when one fails."""
    futures.reverse()
    try:
        while futures:
            left = None if deadline is None else deadline - time.monotonic()
            # Waited for while it is among those to cancel.
            futures[-1].exception(left)
            yield from futures.pop().result()
    finally:
        for future in futures:
            future.cancel()
