"""`TaskLifetime`: as long as a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from proxystore.store import Store
from proxystore_patterns.lifetimes._base import EvictingLifetime

__all__ = ["Task", "TaskLifetime"]


class Task(Protocol):
    """Something that calls back when it is done: a future of any executor, an asyncio task."""

    # Any: each gives itself to the callback, and takes options of its own.
    def add_done_callback(self, callback: Callable[[Any], Any], /) -> Any:
        """Call ``callback`` when done, or at once if that is so."""
        ...


class TaskLifetime(EvictingLifetime):
    """Ends when a task is done: with a result, an exception, or cancelled.

    Objects go in the thread that completes the task; for a task of asyncio in a thread of
    its loop's executor, for a loop must not wait.

    Args:
        task: A future of `concurrent.futures` or of an executor of that shape, of asyncio,
            or of `proxystore_patterns.futures`.
        store: Of keys that are added without one.
        name: For people to read.
        parent: Ends this lifetime when it ends, if that has not ended before.

    Raises:
        TypeError: ``task`` is nothing of that kind.
    """

    def __init__(
        self,
        task: Task,
        store: Store[Any] | None = None,
        *,
        name: str | None = None,
        parent: EvictingLifetime | None = None,
    ) -> None:
        if not hasattr(task, "add_done_callback"):
            raise TypeError(
                f"TaskLifetime() takes the future of a task, which has add_done_callback(), and "
                f"got {task!r}. Use a ContextLifetime where there is none."
            )
        super().__init__(store, name=name, parent=parent)
        task.add_done_callback(self._on_done)

    # Any: the task, of whichever kind.
    def _on_done(self, task: Any) -> None:
        if hasattr(task, "get_loop"):
            task.get_loop().run_in_executor(None, self.end_quietly)
        else:
            self.end_quietly()
