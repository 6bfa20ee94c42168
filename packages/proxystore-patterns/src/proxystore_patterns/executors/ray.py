"""Ray as an executor: ``RayExecutor``. Needs the extra ``ray``."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

import ray

from proxystore.errors import ClosedError

__all__ = ["RayExecutor"]

T = TypeVar("T")


# Any in this module: arguments of every type, options and references of Ray.
class RayExecutor(Executor):
    """Runs each call as a task of Ray. Thread safe.

    Arguments that are ``ObjectRef`` are given to tasks as what they refer to, as Ray does.
    Begun once submitted, as Ray does not say when it begins one: ``cancel()`` of a
    future is too late. Ray itself is left running when this shuts down.

    Args:
        options: For all tasks, as for ``ray.remote``, such as ``num_cpus``.
    """

    def __init__(self, **options: Any) -> None:
        remote = ray.remote(**options) if options else ray.remote
        self._run = remote(_called)
        self._pending: dict[Future[Any], Any] = {}
        self._lock = threading.Lock()
        self._is_shut = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As `Executor.submit`. Starts Ray here if it is not running.

        Raises:
            ClosedError: This was shut down.
        """
        with self._lock:
            if self._is_shut:
                raise ClosedError("This RayExecutor")
            reference = self._run.remote(fn, *args, **kwargs)
            future: Future[T] = reference.future()
            self._pending[future] = reference
        future.set_running_or_notify_cancel()
        future.add_done_callback(self._forget)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the base class has it
        """As `Executor.shutdown`.

        Args:
            wait: Return when all tasks have ended.
            cancel_futures: Have Ray cancel those that have not begun; their futures raise
                ``ray.exceptions.TaskCancelledError``.
        """
        with self._lock:
            self._is_shut = True
            pending = dict(self._pending)
        if cancel_futures:
            for reference in pending.values():
                ray.cancel(reference)
        if wait:
            concurrent.futures.wait(pending)

    def _forget(self, future: Future[Any]) -> None:
        with self._lock:
            self._pending.pop(future, None)


def _called(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)
