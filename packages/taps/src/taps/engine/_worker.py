"""What runs where the task runs: resolve arguments, call, transform the result, take times."""

from __future__ import annotations

import functools
import os
import pickle
import socket
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from taps.engine._nesting import replace
from taps.engine._transform import Moved, TaskTransformer
from taps.engine._transport import Packed, pack, unpack
from taps.errors import TaskError, TaskSerializationError

__all__ = ["Call", "Execution", "Failure", "Outcome", "run_here", "run_sent"]


class Call(NamedTuple):
    """A task whose parents are done."""

    label: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    has_references: bool
    """Whether identifiers or packed results are somewhere in the arguments."""


class Execution(NamedTuple):
    """Where and when a task ran.

    The clocks are one reading of the wall clock at the start, and the monotonic
    clock in seconds after it: unpacked, inputs ready, task done, result
    transformed, all done.
    """

    hostname: str
    pid: int
    worker: str
    start_time: float
    marks: tuple[float, ...]


class Failure(NamedTuple):
    """What a task raised, and its traceback as text."""

    error: BaseException
    traceback: str


class Outcome(NamedTuple):
    """What comes back from a task: a value or a failure, and how it was reached."""

    value: Any
    failure: Failure | None
    execution: Execution
    result_transforms: int
    result_transform_bytes: int
    result_bytes: int


Marks: TypeAlias = list[float]


def run_here(call: Call, transformer: TaskTransformer) -> Outcome:
    """Run a task in a process that shares memory with the engine."""
    start_time, marks = time.time(), [time.perf_counter()]
    marks.append(marks[0])
    return _run(call, transformer, start_time, marks, _unpacked)


def run_sent(sent: Any, label: str, context: bytes) -> Outcome:
    """Run a task in another process than the engine's.

    Args:
        sent: A packed `Call`.
        label: Of the task, for messages.
        context: The pickled `TaskTransformer`, which is unpickled once per process.
    """
    start_time, marks = time.time(), [time.perf_counter()]
    try:
        call, transformer = Call(*unpack(sent)), _context(context)
    except Exception as exc:  # noqa: BLE001 - unpickling may raise anything
        error = TaskSerializationError(label, "arguments", _reason(exc))
        return _failed(error, start_time, marks, traceback.format_exc())
    marks.append(time.perf_counter())
    return _run(call, transformer, start_time, marks, _packed)


@functools.lru_cache(maxsize=8)
def _context(context: bytes) -> TaskTransformer:
    transformer: TaskTransformer = pickle.loads(context)
    return transformer


Finish: TypeAlias = Callable[[Call, Any], tuple[Any, int]]


def _run(
    call: Call, transformer: TaskTransformer, start_time: float, marks: Marks, finish: Finish
) -> Outcome:
    moved = Moved()
    try:
        args, kwargs = _ready(call, transformer)
        marks.append(time.perf_counter())
        value = call.function(*args, **kwargs)
        marks.append(time.perf_counter())
        value = transformer.transform(value, moved)
        marks.append(time.perf_counter())
        value, nbytes = finish(call, value)
    except (Exception, SystemExit) as exc:  # noqa: BLE001 - tasks may raise anything
        text = traceback.format_exc()
        if isinstance(exc, SystemExit):
            # As itself it would end the process that asks for the result.
            exc = TaskError(call.label, "SystemExit", str(exc))
        elif finish is _packed:
            exc = _portable(exc, call.label)
        return _failed(exc, start_time, marks, text)
    execution = _execution(start_time, marks)
    return Outcome(value, None, execution, moved.count, moved.nbytes, nbytes)


def _ready(call: Call, transformer: TaskTransformer) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if not call.has_references:
        return call.args, call.kwargs

    def is_reference(value: object) -> bool:
        return type(value) is Packed or transformer.is_identifier(value)

    def target(value: Any) -> Any:
        return transformer.resolve(unpack(value))

    ready: tuple[tuple[Any, ...], dict[str, Any]] = replace(
        (call.args, call.kwargs), is_reference, target
    )
    return ready


def _unpacked(call: Call, value: Any) -> tuple[Any, int]:
    return value, 0


def _packed(call: Call, value: Any) -> tuple[Any, int]:
    try:
        return pack(value)
    except Exception as exc:
        raise TaskSerializationError(call.label, "result", _reason(exc)) from exc


def _reason(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {exc}"


def _portable(exc: Exception, label: str) -> Exception:
    try:
        pickle.loads(pickle.dumps(exc))
    except Exception as problem:  # noqa: BLE001 - pickling may raise anything
        error = TaskError(label, type(exc).__name__, str(exc))
        error.add_note(f"Pickling the exception raised {_reason(problem)}.")
        return error
    return exc


def _failed(error: BaseException, start_time: float, marks: Marks, text: str) -> Outcome:
    execution = _execution(start_time, marks)
    return Outcome(None, Failure(error, text), execution, 0, 0, 0)


N_MARKS = 6


def _execution(start_time: float, marks: Marks) -> Execution:
    # Phases that were not reached end, with no duration, when the task did.
    marks.extend([time.perf_counter()] * (N_MARKS - len(marks)))
    thread = threading.current_thread().name
    return Execution(
        _hostname(), os.getpid(), thread, start_time, tuple([mark - marks[0] for mark in marks[1:]])
    )


@functools.cache
def _hostname() -> str:
    return socket.gethostname()
