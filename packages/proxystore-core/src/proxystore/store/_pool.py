"""A few threads for the async twins of what blocks."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from proxystore.store._forked import remake_in_child

__all__ = ["in_pool", "submit"]

T = TypeVar("T")

_MAX_THREADS = 16


class _Pool:
    """Runs calls on at most ``max_threads`` threads, started when they are needed.

    The threads are daemons: unlike those of `concurrent.futures`, one that
    waits for a dead medium does not keep the interpreter from exiting.
    """

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        self.remade_in_child()
        remake_in_child(self)

    def submit(self, call: Callable[[], object]) -> None:
        """Run ``call``, which must not raise, on a thread of the pool."""
        self._calls.put(call)
        if self._idle.acquire(blocking=False):
            return
        with self._lock:
            if self._started == self._max_threads:
                return
            self._started += 1
        threading.Thread(target=self._work, name="proxystore-io", daemon=True).start()

    def remade_in_child(self) -> None:
        """Begin without threads, for none of the parent's is in the child."""
        self._calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._started = 0

    def _work(self) -> None:
        while True:
            self._calls.get()()
            self._idle.release()


_pool = _Pool(_MAX_THREADS)


def submit(call: Callable[[], object]) -> None:
    """Run ``call``, which must not raise, on a shared thread."""
    _pool.submit(call)


async def in_pool(call: Callable[[], T]) -> T:
    """The result of ``call``, run on a shared thread."""
    import asyncio

    future: Future[T] = Future()
    _pool.submit(partial(_settle, future, call))
    return await asyncio.wrap_future(future)


def _settle(future: Future[T], call: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except BaseException as exc:  # noqa: BLE001 - it reaches whoever waits for the future
        future.set_exception(exc)
