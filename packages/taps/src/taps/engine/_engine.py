"""The engine: dependencies, dispatch, failures and records of tasks."""

from __future__ import annotations

import concurrent.futures
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, InvalidStateError
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from taps.engine._cascade import Cascade
from taps.engine._contracts import Filter, Terminable, Transformer
from taps.engine._dependencies import Submission
from taps.engine._future import TaskFuture, is_future
from taps.engine._lanes import lane_for
from taps.engine._nesting import find
from taps.engine._records import RecordLogger, task_record
from taps.engine._task import new_task_info
from taps.engine._totals import Totals
from taps.engine._transform import TaskTransformer
from taps.engine._worker import Call, Execution, Failure, Outcome
from taps.errors import EngineClosedError, WorkerDiedError

__all__ = ["Engine"]

R = TypeVar("R")


class Engine:
    """Submits tasks to an executor, each when the tasks it depends on are done.

    Owns what it is given: `shutdown` closes executor, transformer and logger.
    Safe to use from several threads. A task costs some 50 us more than on
    the bare executor, its record included.

    Args:
        executor: Any `concurrent.futures.Executor`. If it shares memory with this
            process, arguments and results are passed as they are, otherwise
            pickled and counted.
        filter_: Which arguments and results are transformed; `None` means all.
        transformer: Passes objects by reference; `None` passes values.
        record_logger: Gets one record per finished task, before its result is seen.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        filter_: Filter | None = None,
        transformer: Transformer[Any] | None = None,
        record_logger: RecordLogger | None = None,
    ) -> None:
        self.executor = executor
        self._transformer = TaskTransformer(transformer, filter_)
        self._records = record_logger
        self._lane = lane_for(executor, self._transformer)
        self._cascade = Cascade()
        self._lock = threading.Lock()
        self._pending: set[TaskFuture[Any]] = set()
        self._closed = False
        self._broken: str | None = None
        self._record_error: OSError | None = None
        self.totals = Totals()
        """Sums over the tasks finished so far."""

    @property
    def tasks_executed(self) -> int:
        """Tasks that finished so far, failed and cancelled ones included."""
        return self.totals.tasks

    @property
    def tasks_submitted(self) -> int:
        """Tasks that were submitted so far."""
        with self._lock:
            return self.totals.tasks + len(self._pending)

    # Any, for arguments: a future of T stands for a T, which no ParamSpec can say.
    def submit(self, function: Callable[..., R], /, *args: Any, **kwargs: Any) -> TaskFuture[R]:
        """Run ``function(*args, **kwargs)`` once the futures in its arguments are done.

        Futures are found in lists, tuples, dicts, sets and dataclasses, however deep,
        and replaced by their results, which do not pass through this process
        unpickled. An argument that is wrong for its task fails the future, not this call.

        Args:
            function: A `Task` or any callable; importable by name if it is to run
                in another process.
            args: Not to be changed until the task is done.

        Raises:
            EngineClosedError: The engine was shut down.
        """
        info = new_task_info(function)
        parents: list[TaskFuture[Any]] = find([*args, *kwargs.values()], is_future)
        future: TaskFuture[R] = TaskFuture(info, self)
        with self._lock:
            if self._closed:
                raise EngineClosedError(info.name)
            self._pending.add(future)
        info.parent_task_ids = [parent.info.task_id for parent in parents]
        submission = Submission(self, future, function, parents)
        try:
            submission.prepare(self._transformer, args, kwargs)
        except Exception as exc:  # noqa: BLE001 - whatever it is, it belongs to the future
            self.fail(future, exc)
        else:
            submission.start(self._cascade)
        return future

    def map(
        self,
        function: Callable[..., R],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[R]:
        """The results of ``function`` over zipped ``iterables``, in order.

        All tasks are submitted at once; those left are cancelled if the iterator is closed.

        Args:
            timeout: Seconds from this call until the last result is there.
            chunksize: Accepted for `concurrent.futures.Executor.map`; every item is a task.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        futures = [self.submit(function, *items) for items in zip(*iterables, strict=False)]
        return _results(futures, deadline)

    # Its signature is that of concurrent.futures.Executor.
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Take no more tasks, and close executor, transformer and logger. Idempotent.

        Args:
            wait: Return when all tasks are done. Otherwise those that the executor
                has not yet are cancelled, and the executor is left to finish alone.
            cancel_futures: Cancel every task that does not run yet.

        Raises:
            OSError: A record could not be written, so the records are incomplete.
        """
        with self._lock:
            self._closed = True
            pending = list(self._pending)
        if cancel_futures or not wait:
            for future in pending:
                future.cancel()
        if wait:
            concurrent.futures.wait(pending)
        self.executor.shutdown(wait=wait, cancel_futures=cancel_futures)
        self._transformer.close()
        if self._records is not None:
            self._records.close()
        error, self._record_error = self._record_error, None
        if error is not None:
            raise error

    def terminate(self) -> None:
        """Cancel what can be cancelled and end the workers of running tasks, then shut down."""
        with self._lock:
            self._closed = True
            pending = list(self._pending)
        for future in pending:
            future.cancel()
        if isinstance(self.executor, Terminable):
            self.executor.terminate()
        self.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is not None and issubclass(exc_type, KeyboardInterrupt):
            self.terminate()
            return
        try:
            self.shutdown(cancel_futures=exc_type is not None)
        except KeyboardInterrupt:
            # Ctrl-C while running tasks are waited for must not wait for them again.
            self.terminate()
            raise

    # --- One task, from here on ------------------------------------------------

    def dispatch(self, future: TaskFuture[Any], call: Call) -> None:
        """Give a task whose parents are done to the executor."""
        info = future.info
        began = time.perf_counter()
        info.dispatch_time = info.submit_time + began - info.submitted
        if self._broken is not None:
            # Not even asked: inside a callback of a broken pool its lock is held.
            self.fail(future, WorkerDiedError(info.label, self._broken))
            return
        try:
            executing, info.argument_bytes = self._lane.submit(call)
        except BrokenExecutor as exc:
            self._broken = str(exc)
            self.fail(future, WorkerDiedError(info.label, self._broken))
        except Exception as exc:  # noqa: BLE001 - whatever it is, it belongs to the future
            self.fail(future, exc)
        else:
            info.prepare_s += time.perf_counter() - began
            future.executing_as(executing)
            executing.add_done_callback(partial(self._on_executed, future))

    def _on_executed(self, future: TaskFuture[Any], executing: Future[Outcome]) -> None:
        info = future.info
        try:
            outcome = executing.result()
        except CancelledError:
            future.cancel()
            return
        except BrokenExecutor as exc:
            self._broken = str(exc)
            self.fail(future, WorkerDiedError(info.label, self._broken))
            return
        except BaseException as exc:  # noqa: BLE001 - whatever it is, it belongs to the future
            self.fail(future, exc)
            return
        info.result_bytes = outcome.result_bytes
        info.result_transforms = outcome.result_transforms
        info.result_transform_bytes = outcome.result_transform_bytes
        self._settle(future, outcome.value, outcome.failure, outcome.execution)

    def fail(self, future: TaskFuture[Any], error: BaseException) -> None:
        """Finish a task that never ran, or whose executor failed."""
        raised = error.__traceback__ is not None
        text = "".join(traceback.format_exception(error)) if raised else ""
        self._settle(future, None, Failure(error, text), None)

    def _settle(
        self,
        future: TaskFuture[Any],
        value: Any,
        failure: Failure | None,
        execution: Execution | None,
    ) -> None:
        if not self._record(future, failure, execution):
            return
        try:
            if failure is None:
                future.set_result(value)
            else:
                future.set_exception(_with_traceback(failure))
        except InvalidStateError:
            return  # Cancelled at this very moment, and recorded as finished.

    def note_cancelled(self, future: TaskFuture[Any]) -> None:
        """Record a task that was cancelled. Futures call it."""
        error = CancelledError("The task was cancelled before it ran.")
        self._record(future, Failure(error, ""), None)

    def read(self, held: Any) -> Any:
        """The value of a result as it travelled. Futures call it."""
        return self._lane.read(held)

    def _record(
        self, future: TaskFuture[Any], failure: Failure | None, execution: Execution | None
    ) -> bool:
        info = future.info
        with self._lock:
            if future not in self._pending:
                return False  # It was cancelled in the meantime.
            self._pending.discard(future)
            info.elapsed_s = time.perf_counter() - info.submitted
            info.received_time = info.submit_time + info.elapsed_s
            info.success = failure is None
            self.totals.add(info)
        if self._records is None:
            return True
        try:
            self._records.log(task_record(info, execution, failure))
        except OSError as exc:
            # The task itself went well: shutdown reports that its record is missing.
            self._record_error = self._record_error or exc
        return True


def _with_traceback(failure: Failure) -> BaseException:
    error = failure.error
    if error.__traceback__ is None and failure.traceback:
        error.add_note(f"It was raised where the task ran:\n{failure.traceback}")
    return error


def _results(futures: list[TaskFuture[R]], deadline: float | None) -> Iterator[R]:
    futures.reverse()
    try:
        while futures:
            # Popped, so that results do not stay in memory once they were used.
            yield futures.pop().result(_seconds_until(deadline))
    finally:
        for future in futures:
            future.cancel()


def _seconds_until(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
