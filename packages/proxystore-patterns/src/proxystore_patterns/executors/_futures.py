"""Futures of tasks that leave something to do when they have ended."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, NoReturn

from proxystore_patterns.executors._results import Landing, User

__all__ = ["TaskFuture", "unsendable"]


# Any in this module: results of every type, futures of other libraries.
class TaskFuture(Future[Any]):
    """The future of a task, whose result is landed; everything else is its original's.

    Args:
        original: What the executor gave.
        end: Called when the task has ended, before anybody is told.
        landing: What to make of the result.
        user: Kept until the task has ended.
    """

    def __init__(
        self, original: Any, end: Callable[[], None], landing: Landing, user: User | None
    ) -> None:
        super().__init__()
        self.is_of_engine = type(original) is not Future
        """Whether the executor has futures of its own, which it takes for arguments."""
        self._original, self._end, self._landing = original, end, landing
        self._user = user
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
        result = None
        try:
            error = original.exception()
            if error is None:
                result = self._landing.landed(original.result())
        except CancelledError:
            super().cancel()
            self.set_running_or_notify_cancel()
            return
        except Exception as failed:  # noqa: BLE001 - whoever waits for the result is told
            error = failed
        finally:
            # Who keeps this future keeps no store open by it.
            self._user = None
        if error is None:
            self.set_result(result)
        else:
            self.set_exception(error)

    def __reduce__(self) -> NoReturn:
        raise unsendable()


def unsendable() -> TypeError:
    """What to raise if a future is to leave its process."""
    return TypeError(
        "The future of a task was given to one in another process, where nobody could wait for "
        "it. Give its result: future.result()."
    )


def _land(waiting: list[TaskFuture], original: Any) -> None:
    # Popped: engines keep futures that are done, and those keep their callbacks.
    waiting.pop().land(original)
