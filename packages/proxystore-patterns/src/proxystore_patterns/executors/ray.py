"""Ray as an executor: ``RayExecutor``. Needs the extra ``ray``."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from proxystore_patterns._extras import importing
from proxystore_patterns.executors._engine_executor import EngineExecutor

with importing("ray"):
    import ray

__all__ = ["RayExecutor"]

T = TypeVar("T")


# Any in this module: arguments of every type, options and references of Ray.
class RayExecutor(EngineExecutor):
    """Runs each call as a task of Ray. Thread safe.

    Arguments that are ``ObjectRef`` are given to tasks as what they refer to, as Ray does.
    Begun once submitted, as Ray does not say when it begins one: ``cancel()`` of a
    future is too late; futures of what ``shutdown(cancel_futures=True)`` stopped raise
    ``ray.exceptions.TaskCancelledError``.

    Args:
        options: For all tasks, as for ``ray.remote``, such as ``num_cpus``.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__()
        remote = ray.remote(**options) if options else ray.remote
        self._run = remote(_called)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As `Executor.submit`. Starts Ray here if it is not running.

        Raises:
            ExecutorShutDownError: This was shut down.
        """
        with self._lock:
            self._check_running()
            reference = self._run.remote(fn, *args, **kwargs)
            future: Future[T] = reference.future()
            self._pending[future] = reference
        future.set_running_or_notify_cancel()
        future.add_done_callback(self._forget)
        return future

    def _cancel(self, _: Future[Any], reference: Any) -> None:
        ray.cancel(reference)


def _called(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)
