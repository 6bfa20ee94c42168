"""A few threads for work that nobody waits for yet."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Final, TypeVar

__all__ = ["completed", "in_background"]

T = TypeVar("T")

_MAX_THREADS: Final = 16


class _Pool:
    # Not a ThreadPoolExecutor: the interpreter waits for its threads at exit.

    def __init__(self) -> None:
        # Any: the results of different calls are of different types.
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._n_threads = 0

    def submit(self, call: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self._calls.put((future, call))
        if not self._idle.acquire(blocking=False):
            self._grow()
        return future

    def _grow(self) -> None:
        with self._lock:
            if self._n_threads == _MAX_THREADS:
                return
            self._n_threads += 1
            name = f"proxystore-background-{self._n_threads}"
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        while True:
            _run(*self._calls.get())
            self._idle.release()


def _run(future: Future[T], call: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - it reaches whoever holds the future.
        future.set_exception(error)
    else:
        future.set_result(result)


# By process id, for a forked child has none of its parent's threads.
_pools: dict[int, _Pool] = {}


def in_background(call: Callable[[], T]) -> Future[T]:
    """Run ``call`` in one of at most 16 threads that never delay the exit."""
    pid = os.getpid()
    pool = _pools.get(pid) or _pools.setdefault(pid, _Pool())
    return pool.submit(call)


def completed(result: T) -> Future[T]:
    """A future that is done."""
    future: Future[T] = Future()
    future.set_result(result)
    return future
