"""Futures of tasks, whose results are owned by who submitted."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, NamedTuple, NoReturn

from proxystore.proxy import Proxy, get_factory
from proxystore_patterns.executors._calls import Marked
from proxystore_patterns.executors._policy import replace
from proxystore_patterns.ownership import into_owned

__all__ = ["Landing", "TaskFuture"]


# Any in this module: results of every type, futures of other libraries.
class Landing(NamedTuple):
    """What is made of a result."""

    depth: int
    """How far down the proxies may be that were made for it."""
    owned: bool
    """Own them. Otherwise they stay what they are."""
    user: object
    """Kept alive until the task has ended, and then by those proxies."""

    def landed(self, result: Any) -> Any:
        """What who submitted gets."""
        if type(result) is not Marked:
            return result
        made = {id(proxy): proxy for proxy in result.made}

        def visit(value: Any) -> Any:
            proxy: Proxy[Any] | None = made.get(id(value))
            return value if proxy is None else self._given(proxy)

        return replace(result.result, self.depth, visit)

    def _given(self, proxy: Proxy[Any]) -> Proxy[Any]:
        given = into_owned(proxy) if self.owned else proxy
        weakref.finalize(get_factory(given), _let_go, self.user)
        return given


def _let_go(_user: object) -> None:
    """Until this is called, its argument is kept."""


class TaskFuture(Future[Any]):
    """The future of a task, whose result is landed; everything else is its original's.

    Args:
        original: What the executor gave.
        end: Called when the task has ended, before anybody is told.
        landing: What to make of the result.
    """

    def __init__(self, original: Any, end: Callable[[], None], landing: Landing) -> None:
        super().__init__()
        self.is_of_engine = type(original) is not Future
        """Whether the executor has futures of its own, which it takes for arguments."""
        self._original, self._end = original, end
        self._landing: Landing | None = landing
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
        # Not kept: who keeps this future keeps no store open by it.
        landing, self._landing, self._original = self._landing, None, None
        assert landing is not None
        self._end()
        result = None
        try:
            error = original.exception()
            if error is None:
                result = landing.landed(original.result())
        except CancelledError:
            super().cancel()
            self.set_running_or_notify_cancel()
            return
        except Exception as failed:  # noqa: BLE001 - whoever waits for the result is told
            error = failed
        del landing
        if error is None:
            self.set_result(result)
        else:
            self.set_exception(error)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "The future of a task was sent to another process, where nobody could wait for "
            "it. Send its result: future.result()."
        )


def _land(waiting: list[TaskFuture], original: Any) -> None:
    # Popped: engines keep futures that are done, and those keep their callbacks.
    waiting.pop().land(original)
