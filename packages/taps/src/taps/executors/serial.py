"""The reference executor: each task runs when it is submitted, in the same thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Literal, ParamSpec, TypeVar

from taps.executors.abc import ExecutorConfig

__all__ = ["SerialConfig", "SerialExecutor"]

P = ParamSpec("P")
R = TypeVar("R")


class SerialExecutor(Executor):
    """Runs each call inside `submit`. What every other executor computes must equal this."""

    shares_memory = True

    def __init__(self) -> None:
        self._closed = False

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run the call now.

        Raises:
            RuntimeError: After `shutdown`.
            KeyboardInterrupt: Ctrl-C during the call; the future has it too.
        """
        if self._closed:
            raise RuntimeError("This executor was shut down and takes no more calls.")
        future: Future[R] = Future()
        future.set_running_or_notify_cancel()
        try:
            result = fn(*args, **kwargs)
        except Exception as exc:  # noqa: BLE001 - it belongs to the future
            future.set_exception(exc)
        except BaseException as exc:
            future.set_exception(exc)
            raise
        else:
            future.set_result(result)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Take no more calls."""
        self._closed = True


class SerialConfig(ExecutorConfig):
    """Runs tasks one after the other in the main process: the reference."""

    name: Literal["serial"] = "serial"

    def get_executor(self) -> SerialExecutor:
        """A fresh serial executor."""
        return SerialExecutor()
