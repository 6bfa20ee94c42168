"""Futures of tasks, whose results are owned by who submitted."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from proxystore.proxy import Proxy
from proxystore_patterns.executors._calls import Marked
from proxystore_patterns.executors._policy import replace
from proxystore_patterns.ownership import into_owned

__all__ = ["TaskFuture"]


# Any in this module: results of every type, futures of other libraries.
class TaskFuture(Future[Any]):
    """The future of a task, whose result is owned; everything else is its original's.

    Args:
        original: What the executor gave.
        end: Called when the task has ended, before anybody is told.
        depth: How far down the proxies may be that were made for the result.
        owned: Own them. Otherwise they stay what they are.
    """

    def __init__(self, original: Any, end: Callable[[], None], depth: int, *, owned: bool) -> None:
        super().__init__()
        self._original, self._end = original, end
        self._depth, self._is_owned = depth, owned
        original.add_done_callback(partial(_land, [self]))

    @property
    def original(self) -> Any:
        """What the executor gave, until it is done; then `None`."""
        return self._original

    def cancel(self) -> bool:
        """As `Future.cancel`."""
        original = self._original
        return self.cancelled() if original is None else bool(original.cancel())

    def running(self) -> bool:
        """As `Future.running`."""
        original = self._original
        return original is not None and bool(original.running())

    def land(self, original: Any) -> None:
        """The original is done."""
        self._original = None
        self._end()
        if original.cancelled():
            super().cancel()
            self.set_running_or_notify_cancel()
            return
        error = original.exception()
        if error is not None:
            self.set_exception(error)
            return
        try:
            landed = self._landed(original.result())
        except Exception as failed:  # noqa: BLE001 - whoever waits for the result is told
            self.set_exception(failed)
        else:
            self.set_result(landed)

    def _landed(self, result: Any) -> Any:
        """The result, with the proxies that were made for it owned."""
        if type(result) is not Marked:
            return result
        if not self._is_owned:
            return result.result
        made = {id(proxy): proxy for proxy in result.made}

        def visit(value: Any) -> Any:
            proxy: Proxy[Any] | None = made.get(id(value))
            return value if proxy is None else into_owned(proxy)

        return replace(result.result, self._depth, visit)


def _land(waiting: list[TaskFuture], original: Any) -> None:
    # Popped: engines keep futures that are done, and those keep their callbacks.
    waiting.pop().land(original)
