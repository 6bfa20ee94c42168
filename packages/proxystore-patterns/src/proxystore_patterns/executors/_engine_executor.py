"""What executors have in common that give their tasks to an engine."""

from __future__ import annotations

import concurrent.futures
import threading
from abc import ABC, abstractmethod
from concurrent.futures import Executor, Future
from typing import Any

from proxystore_patterns.errors import ExecutorShutDownError

__all__ = ["EngineExecutor"]


# Any in this module: results of every type, what engines call their tasks by.
class EngineExecutor(Executor, ABC):
    """Knows which of its tasks have not ended. Thread safe."""

    def __init__(self) -> None:
        self._pending: dict[Future[Any], Any] = {}
        self._lock = threading.Lock()
        self._is_shut = False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the base class has it
        """As `Executor.shutdown`. The engine itself is left running.

        Args:
            wait: Return when all tasks have ended.
            cancel_futures: Have the engine cancel those that have not begun.
        """
        with self._lock:
            self._is_shut = True
            pending = dict(self._pending)
        if cancel_futures:
            for future, task in pending.items():
                self._cancel(future, task)
        if wait:
            concurrent.futures.wait(pending)

    @abstractmethod
    def _cancel(self, future: Future[Any], task: Any) -> None:
        """Cancel a task that has not ended."""

    def _check_running(self) -> None:
        if self._is_shut:
            raise ExecutorShutDownError(f"this {type(self).__name__}")

    def _forget(self, future: Future[Any]) -> None:
        with self._lock:
            self._pending.pop(future, None)
