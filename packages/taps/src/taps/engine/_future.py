"""The future of a task, and waiting for several."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from taps.engine._task import TaskInfo

__all__ = ["Owner", "TaskFuture", "Waited", "as_completed", "is_future", "wait"]

R = TypeVar("R")

_cancelling = threading.Lock()
"""Held to flip a flag of a future; one for all, since a lock each costs every task."""


class Owner(Protocol):
    """What a future needs of the engine that made it."""

    def read(self, held: Any) -> Any:
        """The value of a result as it travelled."""
        ...

    def note_cancelled(self, future: TaskFuture[Any]) -> None:
        """Told once when ``future`` was cancelled."""
        ...


class TaskFuture(Future[R]):
    """The result of a task, now or later.

    A `concurrent.futures.Future`: whatever takes one takes this. Pass it, at
    any depth, in the arguments of further tasks, and they wait for it without
    occupying a worker. Made by `Engine.submit` only.
    """

    def __init__(self, info: TaskInfo, owner: Owner) -> None:
        super().__init__()
        self.info = info
        self.owner = owner
        """The engine that the task was submitted to."""
        self._executing: Future[Any] | None = None
        self._value: dict[str, R] = {}
        self._cancelled_once = False

    def __repr__(self) -> str:
        return f"<TaskFuture of {self.info.label} {self._state.lower()}>"

    def result(self, timeout: float | None = None) -> R:
        """What the task returned, the same object each time.

        A result that came from another process is unpickled here, on first need.

        Raises:
            TimeoutError: The task is not done after ``timeout`` seconds.
            CancelledError: It was cancelled.
            DependencyError: It was not run, because a task it needs failed.
            WorkerDiedError: The process that ran it is gone.
            TaskSerializationError: It could not be sent, or its result not returned.
            BaseException: Whatever the task raised.
        """
        held = super().result(timeout)
        if "read" not in self._value:
            # Two threads may both read it, and then both get the one that was first.
            self._value.setdefault("read", self.owner.read(held))
        return self._value["read"]

    def held(self) -> Any:
        """The result as it travels: packed, or an identifier. The task must be done."""
        return super().result(0)

    def running(self) -> bool:
        """Whether the executor says that the task runs now."""
        executing = self._executing
        return executing is not None and executing.running() and not self.done()

    def cancel(self) -> bool:
        """Cancel the task unless it runs or is done, and all that depend on it."""
        executing = self._executing
        if executing is not None and not executing.cancel():
            return False
        if not super().cancel():
            return False
        # Once: wait() and as_completed() only see a cancellation that was notified.
        with _cancelling:
            first, self._cancelled_once = not self._cancelled_once, True
        if first:
            self.owner.note_cancelled(self)
            self.set_running_or_notify_cancel()
        return True

    def executing_as(self, executing: Future[Any]) -> None:
        """Note what the executor returned for this task."""
        self._executing = executing
        if self._cancelled_once:
            executing.cancel()


def is_future(obj: object) -> bool:
    """Whether ``obj`` is a task's future. By its type: isinstance would resolve proxies."""
    return issubclass(type(obj), TaskFuture)


class Waited(NamedTuple):
    """What `wait` found."""

    done: set[TaskFuture[Any]]
    not_done: set[TaskFuture[Any]]


def wait(
    tasks: Iterable[TaskFuture[Any]],
    timeout: float | None = None,
    return_when: str = concurrent.futures.ALL_COMPLETED,
) -> Waited:
    """Wait for tasks; failed and cancelled ones are done too.

    Args:
        tasks: Of any engines.
        timeout: Seconds; `None` waits as long as it takes.
        return_when: A constant of `concurrent.futures`.
    """
    found = concurrent.futures.wait(list(tasks), timeout, return_when)
    return Waited(
        cast("set[TaskFuture[Any]]", found.done), cast("set[TaskFuture[Any]]", found.not_done)
    )


def as_completed(
    tasks: Collection[TaskFuture[R]], timeout: float | None = None
) -> Iterator[TaskFuture[R]]:
    """The tasks in the order in which they finish.

    Raises:
        TimeoutError: Not all are done ``timeout`` seconds after the call.
    """
    return cast("Iterator[TaskFuture[R]]", concurrent.futures.as_completed(tasks, timeout))
