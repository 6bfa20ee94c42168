"""A pool of processes on this host."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError, ProcessPoolExecutor
from typing import Literal, ParamSpec, TypeVar

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
        self._closing = threading.Event()

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
        self._closing.set()
        super().shutdown(wait, cancel_futures=cancel_futures)

    def terminate(self) -> None:
        """End the workers now. Their tasks, and those queued, fail with `BrokenProcessPool`."""
        # Before terminate_workers() of Python 3.14, nothing public knows which they are.
        for process in list((self._processes or {}).values()):
            process.terminate()
        if self._result_queue is not None:
            # A worker that dies while it sends leaves half a message, and the pool would
            # wait for the rest for ever, since it holds the other end of the pipe itself.
            self._result_queue._writer.close()  # type: ignore[attr-defined]

    def _watch_new_workers(self) -> None:
        workers = dict(self._processes)
        sentinels = [worker.sentinel for pid, worker in workers.items() if pid not in self._watched]
        self._watched |= workers.keys()

        def watch() -> None:
            multiprocessing.connection.wait(sentinels)
            if not self._closing.is_set():
                self.terminate()

        threading.Thread(target=watch, name="watch-workers", daemon=True).start()


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
