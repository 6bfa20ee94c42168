"""A pool of processes on this host."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError, ProcessPoolExecutor
from multiprocessing.process import BaseProcess
from typing import Any, Literal, ParamSpec, TypeVar

from pydantic import Field

from taps.executors.abc import ExecutorConfig

__all__ = ["ProcessPool", "ProcessPoolConfig"]

P = ParamSpec("P")
R = TypeVar("R")


class ProcessPool(ProcessPoolExecutor):
    """A `ProcessPoolExecutor` that leaves no process behind.

    Workers end when this process does, however it ends, and leave Ctrl-C to it.

    Args:
        max_processes: Number of workers.
        context: How they are started; `None` is the default of this Python.
    """

    shares_memory = False

    def __init__(self, max_processes: int, context: str | None = None) -> None:
        super().__init__(
            max_processes,
            mp_context=multiprocessing.get_context(context),
            initializer=_start_worker,
        )
        self._watched: set[int] = set()
        self._watchers: list[threading.Thread] = []
        self._ending = threading.Lock()
        self._closing = False

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """As `ProcessPoolExecutor.submit`."""
        with _interrupts_held_back():
            future = super().submit(fn, *args, **kwargs)
        future.__class__ = _CancellableFuture
        if len(self._processes) > len(self._watched):
            self._watch_new_workers()
        return future

    # Its signature is that of concurrent.futures.Executor.
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """As `ProcessPoolExecutor.shutdown`."""
        with self._ending:
            self._closing = True
        super().shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            # A process that is forked later must not find a thread that still ends.
            for watcher in self._watchers:
                watcher.join()

    def terminate(self) -> None:
        """End the workers now. Their tasks, and those queued, fail with `BrokenProcessPool`."""
        with self._ending:
            self._end_workers()

    def _end_workers(self) -> None:
        # Before terminate_workers() of Python 3.14, nothing public knows which they are.
        for process in list((self._processes or {}).values()):
            process.terminate()
        results: Any = self._result_queue  # Any: nothing public knows its two ends.
        if results is not None and not results._writer.closed:
            # A worker that dies while it sends leaves half a message, and the pool would
            # wait for the rest for ever, since it holds the other end of the pipe itself.
            results._writer.close()

    def _watch_new_workers(self) -> None:
        # A copy: another thread may submit, and start a worker, at the same time.
        known = dict(self._processes)
        workers = [worker for pid, worker in known.items() if pid not in self._watched]
        self._watched.update(known)
        watcher = threading.Thread(
            target=self._watch, args=(workers,), name="watch-workers", daemon=True
        )
        self._watchers.append(watcher)
        watcher.start()

    def _watch(self, workers: Sequence[BaseProcess]) -> None:
        multiprocessing.connection.wait([worker.sentinel for worker in workers])
        with self._ending:
            if not self._closing:
                self._end_workers()


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    # A worker that is started now begins with SIGINT blocked: Ctrl-C would end it, with a
    # traceback, before it could choose to ignore it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _CancellableFuture(Future[R]):
    def set_exception(self, exception: BaseException | None) -> None:
        # When a worker dies, the pool of Python 3.11 sets an exception on every pending
        # future, stops at the first that was cancelled, and the rest hang for ever.
        with contextlib.suppress(InvalidStateError):
            super().set_exception(exception)


def _start_worker() -> None:
    # Ctrl-C reaches every process of a terminal. Workers that died of it would fail
    # their tasks with tracebacks of their own before the engine could cancel any.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, name="watch-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        # Without this a worker whose parent was killed waits for its next task for ever.
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


class ProcessPoolConfig(ExecutorConfig):
    """Runs tasks in processes of this host; arguments and results are pickled."""

    name: Literal["process-pool"] = "process-pool"
    max_processes: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="number of processes"
    )
    context: Literal["fork", "spawn", "forkserver"] | None = Field(
        default=None, description="how processes are started; none is Python's default"
    )

    def get_executor(self) -> ProcessPool:
        """A fresh pool; processes are started with the first task."""
        return ProcessPool(self.max_processes, self.context)
