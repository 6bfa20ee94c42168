"""Dask as an executor that sends and fetches together what comes together."""

from __future__ import annotations

import inspect
import io
import pickle
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar
from uuid import uuid4

import distributed

from proxystore_patterns._options import refusal
from proxystore_patterns.executors._engine_executor import EngineExecutor
from proxystore_patterns.executors._parcels import ProxyPickler

__all__ = ["DaskExecutor"]

T = TypeVar("T")
# Futures of Dask, of which most has no types.
_Task: TypeAlias = Any

_ALONE_NBYTES = 65_536
# What both ways to send take, but for what this decides.
_OPTIONS = sorted(
    {*inspect.signature(distributed.Client.map).parameters}
    & {*inspect.signature(distributed.Client.submit).parameters}
    - {"self", "func", "key", "kwargs", "pure"}
)


# Any in this module: arguments and results of every type, what Dask has no types for.
class _Waiting(NamedTuple):
    """A call that is to be sent."""

    future: Future[Any]
    key: str
    pickled: bytes


class DaskExecutor(EngineExecutor):
    """Runs each call as a task of Dask. Thread safe.

    As ``client.get_executor(pure=False)``, for less: calls submitted while Dask's event loop
    was busy go to the scheduler in one message, and their results come in one. A third of the
    work of a small task is saved where it is submitted, and Dask's scheduler sees no more
    of functions and arguments than bytes. Nor are proxies resolved here, which Dask does.

    Futures of Dask among the arguments are given as their results, as Dask does, but not
    those inside lists and the like. The client is left open when this shuts down.

    Args:
        client: Synchronous; open as long as tasks run.
        options: For all tasks, as of ``client.submit``, such as ``resources`` or ``retries``.

    Raises:
        TypeError: ``client`` is no client, or Dask has no such option.
    """

    def __init__(self, client: distributed.Client, **options: Any) -> None:
        super().__init__()
        if not isinstance(client, distributed.Client):
            raise TypeError(refusal("DaskExecutor", "a distributed.Client", client))
        for name in options.keys() - _OPTIONS:
            raise TypeError(refusal("DaskExecutor", f"the options {', '.join(_OPTIONS)}", name))
        # Any: most of a client has no types.
        self._client: Any = client
        self._options = {**options, "pure": False}
        self._waiting: list[_Waiting] = []

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As `Executor.submit`.

        Raises:
            ExecutorShutDownError: This was shut down.
            TypeError: An argument cannot be pickled, such as a future of this.
        """
        # Not isinstance, which resolves proxies.
        given = (*args, *kwargs.values())
        depends = any(issubclass(type(each), distributed.Future) for each in given)
        pickled = b"" if depends else _pickled((fn, args, kwargs))
        future: Future[T] = Future()
        call = _Waiting(future, f"{getattr(fn, '__name__', 'call')}-{uuid4().hex}", pickled)
        with self._lock:
            self._check_running()
            self._pending[future] = None
        future.add_done_callback(self._forget)
        try:
            if depends or len(pickled) > _ALONE_NBYTES:
                # Dask finds what it depends on, and copies large buffers less often.
                task = self._client.submit(fn, *args, **kwargs, key=call.key, **self._options)
                self._client.loop.add_callback(self._land, {task: future})
            else:
                self._put_in_line(call)
        except BaseException:
            self._forget(future)
            raise
        return future

    def _put_in_line(self, call: _Waiting) -> None:
        with self._lock:
            # In this order: a call that waits is one that will be sent.
            if not self._waiting:
                self._client.loop.add_callback(self._send)
            self._waiting.append(call)

    async def _send(self) -> None:
        with self._lock:
            given, self._waiting = self._waiting, []
        waiting = [each for each in given if not each.future.cancelled()]
        if not waiting:
            return
        try:
            tasks = self._client.map(
                _called,
                [each.pickled for each in waiting],
                key=[each.key for each in waiting],
                **self._options,
            )
        except Exception as error:  # noqa: BLE001 - whoever waits for the results is told
            for each in waiting:
                _settle(each.future, error=error)
            return
        await self._land({task: each.future for task, each in zip(tasks, waiting, strict=True)})

    async def _land(self, futures: dict[_Task, Future[Any]]) -> None:
        for task, future in futures.items():
            future.add_done_callback(partial(self._pass_on, task))
        as_completed: Callable[..., Any] = distributed.as_completed
        done = as_completed(list(futures), loop=self._client.loop, raise_errors=False)
        async for first in done:
            landed = [first]
            while not done.queue.empty():
                landed.append(done.queue.get_nowait())
            await self._fetch({task: futures.pop(task) for task in landed})

    async def _fetch(self, futures: dict[_Task, Future[Any]]) -> None:
        finished = [task for task in futures if task.status == "finished"]
        try:
            results = await self._client.gather(finished, asynchronous=True)
        except Exception as error:  # noqa: BLE001 - whoever waits for the results is told
            for task in finished:
                if len(finished) == 1:
                    _settle(futures.pop(task), error=error)
                else:
                    await self._fetch({task: futures.pop(task)})
        else:
            for task, result in zip(finished, results, strict=True):
                _settle(futures.pop(task), result)
        for task, future in futures.items():
            if task.cancelled():
                future.cancel()
                _settle(future)
            else:
                _settle(future, error=await task.exception(asynchronous=True))

    def _pass_on(self, task: _Task, future: Future[Any]) -> None:
        if future.cancelled() and not task.cancelled():
            self._client.loop.add_callback(self._client.cancel, [task], asynchronous=True)

    def _cancel(self, future: Future[Any], _: Any) -> None:
        future.cancel()


def _pickled(call: Any) -> bytes:
    file = io.BytesIO()
    ProxyPickler(file).dump(call)
    return file.getvalue()


def _called(pickled: bytes) -> Any:
    function, args, kwargs = pickle.loads(pickled)
    return function(*args, **kwargs)


def _settle(future: Future[Any], result: Any = None, error: BaseException | None = None) -> None:
    # Who cancelled it is not told anything else.
    if not future.set_running_or_notify_cancel():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
