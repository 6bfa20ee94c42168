"""The two ways a call reaches an executor: in shared memory, or as bytes."""

from __future__ import annotations

import pickle
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, Protocol

from taps.engine._transform import TaskTransformer
from taps.engine._transport import pack, unpack
from taps.engine._worker import Call, Outcome, run_here, run_sent
from taps.errors import TaskSerializationError

__all__ = ["Lane", "lane_for"]


class Lane(Protocol):
    """Gives calls to an executor and reads their results."""

    def submit(self, call: Call) -> tuple[Future[Outcome], int]:
        """The executor's future, and the bytes that were given to it.

        Raises:
            TaskSerializationError: The call cannot be pickled.
            RuntimeError: The executor is broken or shut down.
        """
        ...

    def read(self, held: Any) -> Any:
        """The value of a result that came back."""
        ...


class _SharedMemoryLane:
    def __init__(self, executor: Executor, transformer: TaskTransformer) -> None:
        self._executor, self._transformer = executor, transformer

    def submit(self, call: Call) -> tuple[Future[Outcome], int]:
        return self._executor.submit(run_here, call, self._transformer), 0

    def read(self, held: Any) -> Any:
        return self._transformer.resolve(held)


class _PickledLane:
    def __init__(self, executor: Executor, transformer: TaskTransformer) -> None:
        self._executor, self._transformer = executor, transformer
        self._context = pickle.dumps(transformer)

    def submit(self, call: Call) -> tuple[Future[Outcome], int]:
        try:
            sent, nbytes = pack(tuple(call))
        except Exception as exc:
            reason = f"{type(exc).__name__}: {exc}"
            raise TaskSerializationError(call.label, "arguments", reason) from exc
        return self._executor.submit(run_sent, sent, call.label, self._context), nbytes

    def read(self, held: Any) -> Any:
        return self._transformer.resolve(unpack(held))


def lane_for(executor: Executor, transformer: TaskTransformer) -> Lane:
    """The lane that suits an executor.

    An executor says with an attribute ``shares_memory`` whether its tasks run
    in this process; one without it is taken to do so if it is a thread pool.
    """
    is_threads = isinstance(executor, ThreadPoolExecutor)
    if getattr(executor, "shares_memory", is_threads):
        return _SharedMemoryLane(executor, transformer)
    return _PickledLane(executor, transformer)
