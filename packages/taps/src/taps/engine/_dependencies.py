"""A submitted task, from its arguments to the moment its parents are done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from taps.engine._cascade import Cascade
from taps.engine._future import TaskFuture, is_future
from taps.engine._nesting import find, replace
from taps.engine._transform import Moved, TaskTransformer
from taps.engine._worker import Call
from taps.errors import DependencyError

if TYPE_CHECKING:
    from taps.engine._engine import Engine

__all__ = ["Submission"]


class Submission:
    """One task that waits for its parents, and is then dispatched or fails.

    Args:
        engine: Dispatches the task, or fails it.
        future: Of the task.
        parents: The futures in its arguments, each once.
    """

    def __init__(
        self,
        engine: Engine,
        future: TaskFuture[Any],
        function: Callable[..., Any],
        parents: Sequence[TaskFuture[Any]],
    ) -> None:
        self._engine, self._future = engine, future
        self._function, self._parents = function, parents
        self._args: tuple[Any, ...] = ()
        self._kwargs: dict[str, Any] = {}
        self._has_references = bool(parents)
        self._remaining = len(parents)
        self._lock = threading.Lock()

    def prepare(
        self, transformer: TaskTransformer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Take the arguments, and transform those that do not depend on parents."""
        self._args, self._kwargs = args, kwargs
        if not transformer.active:
            return
        began, moved, info = time.perf_counter(), Moved(), self._future.info
        self._has_references = True

        def transform(value: Any) -> Any:
            if self._parents and find((value,), is_future):
                return value
            return transformer.transform(value, moved)

        self._args = tuple(transform(value) for value in args)
        self._kwargs = {name: transform(value) for name, value in kwargs.items()}
        info.input_transforms, info.input_transform_bytes = moved.count, moved.nbytes
        info.prepare_s = time.perf_counter() - began

    def start(self, cascade: Cascade) -> None:
        """Dispatch the task once all parents are done, or fail it with the first that fails."""
        parents = self._parents
        if not parents:
            self._dispatch()
        elif all(parent.done() for parent in parents):
            # Not by way of the cascade, so that a callback may submit and wait.
            for parent in parents:
                self._advance(parent)
        else:
            for parent in parents:
                parent.add_done_callback(partial(self._on_parent_done, cascade))

    def _on_parent_done(self, cascade: Cascade, parent: Future[Any]) -> None:
        cascade.run(partial(self._advance, cast("TaskFuture[Any]", parent)))

    def _advance(self, parent: TaskFuture[Any]) -> None:
        if parent.cancelled():
            self._future.cancel()
            return
        error = parent.exception()
        if error is not None:
            self._engine.fail(self._future, self._not_run(parent, error))
            return
        with self._lock:
            self._remaining -= 1
            ready = self._remaining == 0
        if ready and not self._future.done():
            self._dispatch()

    def _dispatch(self) -> None:
        args, kwargs = self._args, self._kwargs
        try:
            if self._parents:
                args, kwargs = replace((args, kwargs), is_future, self._result_of)
        except Exception as exc:  # noqa: BLE001 - constructors of containers may raise anything
            self._engine.fail(self._future, exc)
            return
        self._args, self._kwargs, self._parents = (), {}, ()  # Not kept alive by callbacks.
        label = self._future.info.label
        call = Call(label, self._function, args, kwargs, self._has_references)
        self._engine.dispatch(self._future, call)

    def _result_of(self, parent: TaskFuture[Any]) -> Any:
        # Packed results and identifiers mean nothing to an engine with another transformer.
        return parent.held() if parent.owner is self._engine else parent.result()

    def _not_run(self, parent: TaskFuture[Any], error: BaseException) -> DependencyError:
        label = self._future.info.label
        # Further down, the task that failed at first is what the user must look at.
        if isinstance(error, DependencyError) and error.__cause__ is not None:
            not_run = DependencyError(label, error.parent)
            not_run.__cause__ = error.__cause__
        else:
            not_run = DependencyError(label, parent.info.label)
            not_run.__cause__ = error
        return not_run
