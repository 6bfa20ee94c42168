"""Iterators that an error does not end, for an error is about one event of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["AsyncCalls", "Calls", "Turns"]

R = TypeVar("R")


class Calls(Iterator[R]):
    """Calls a function until it raises `StopIteration`; after other errors it goes on."""

    def __init__(self, call: Callable[[], R]) -> None:
        self._call = call

    def __next__(self) -> R:
        return self._call()


class AsyncCalls(AsyncIterator[R]):
    """As `Calls`, until `StopAsyncIteration`; it goes on after it was cancelled, too."""

    def __init__(self, call: Callable[[], Awaitable[R]]) -> None:
        self._call = call

    async def __anext__(self) -> R:
        return await self._call()


class Turns:
    """Lets tasks make blocking calls, one after the other, in a thread of their own."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = asyncio.Lock()

    def mine(self) -> asyncio.Lock:
        """Held by the task whose turn it is."""
        # A lock belongs to the loop in which it was first waited for.
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._lock = loop, asyncio.Lock()
        return self._lock

    async def run(self, call: Callable[[], R]) -> R:
        """What ``call`` gives. It goes on, and others wait for it, if the task is cancelled."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "stream-consumer")
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def close(self) -> None:
        """Wait for the call that is being made, and end the thread. Idempotent."""
        if self._thread is not None:
            self._thread.shutdown(wait=True)
            self._thread = None
