"""What a task is: a function with a name, and what is known about one call of it."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, overload

__all__ = ["Task", "TaskInfo", "new_task_info", "task"]

P = ParamSpec("P")
R = TypeVar("R")


class Task(Generic[P, R]):
    """A function with the name under which its calls are recorded.

    Calling it calls the function, here and now. It pickles by reference, as
    a function does, so it must be importable where it runs.
    """

    def __init__(self, function: Callable[P, R], name: str | None = None) -> None:
        self.__qualname__ = ""
        functools.update_wrapper(self, function)
        self.function = function
        self.name = name or task_name(function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.name!r}>"

    def __reduce__(self) -> str:
        return self.__qualname__


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(*, name: str | None = None) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(
    function: Callable[P, R] | None = None, /, *, name: str | None = None
) -> Task[P, R] | Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function a `Task`, as ``@task`` or ``@task(name='gemm')``.

    Optional: an engine takes plain functions too. It serves to name tasks.

    Args:
        function: Must be at the top level of an importable module if it is to
            run in another process.
        name: In records and reports; the function's own name by default.
    """
    if function is not None:
        return Task(function)
    return functools.partial(Task, name=name)


def task_name(function: Callable[..., Any]) -> str:
    """The name of a `Task`, function, partial or other callable."""
    if isinstance(function, Task):
        return function.name
    if isinstance(function, functools.partial):
        return task_name(function.func)
    return getattr(function, "__name__", type(function).__name__)


@dataclasses.dataclass(slots=True)
class TaskInfo:
    """One call of a task. The engine fills it in; others read it."""

    task_id: str
    name: str
    parent_task_ids: list[str]
    submit_time: float
    """Seconds since the epoch, as all times."""
    submitted: float
    """The same moment by the monotonic clock, which durations are taken from."""
    attempt: int = 1
    dispatch_time: float | None = None
    """When all parents were done and the executor was given the task."""
    received_time: float | None = None
    elapsed_s: float | None = None
    """From submission to the result's arrival, by the monotonic clock."""
    prepare_s: float = 0.0
    """Spent here on transforming and pickling arguments."""
    success: bool | None = None
    argument_bytes: int = 0
    """Pickled bytes given to the executor; 0 where the executor shares memory."""
    result_bytes: int = 0
    input_transforms: int = 0
    input_transform_bytes: int = 0
    """Serialized size of the arguments passed by reference."""
    result_transforms: int = 0
    result_transform_bytes: int = 0

    @property
    def label(self) -> str:
        """The task's name and the beginning of its identifier, for messages."""
        return f"{self.name!r} ({self.task_id[:8]})"


def new_task_info(function: Callable[..., Any]) -> TaskInfo:
    """What is known of a call that is submitted now."""
    # As unique as a uuid4, which costs four times as much.
    return TaskInfo(os.urandom(16).hex(), task_name(function), [], time.time(), time.perf_counter())
