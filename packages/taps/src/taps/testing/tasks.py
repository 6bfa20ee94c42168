"""Tasks that any process can import."""

from __future__ import annotations

import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from taps.engine import task

__all__ = [
    "Unpicklable",
    "UnpicklableError",
    "add",
    "combine",
    "die_while_sending",
    "exit_politely",
    "fail",
    "identity",
    "kill_own_worker",
    "raise_unpicklable",
    "return_unpicklable",
    "total",
    "wait_for_file",
    "where",
]


class Unpicklable:
    """Refuses to be pickled."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("this object stays where it is")


class UnpicklableError(Exception):
    """Pickles, but cannot be unpickled: its constructor wants two arguments."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


@task
def add(left: float, right: float) -> float:
    """The sum of two numbers."""
    return left + right


@task(name="sum-of-many")
def total(*values: float) -> float:
    """The sum of any numbers."""
    return sum(values)


# Any: what comes in goes out.
@task
def identity(value: Any) -> Any:
    """What it was given."""
    return value


@task
def combine(**values: Any) -> dict[str, Any]:
    """What it was given, as a dict."""
    return values


@task
def where() -> tuple[int, str]:
    """The process and the thread that it ran in."""
    return os.getpid(), threading.current_thread().name


@task
def fail(message: str) -> NoReturn:
    """Raise `ValueError`."""
    raise ValueError(message)


@task
def raise_unpicklable() -> NoReturn:
    """Raise an exception that cannot be unpickled."""
    raise UnpicklableError("two", "words")


@task
def return_unpicklable() -> Unpicklable:
    """Return what cannot be pickled."""
    return Unpicklable()


@task
def exit_politely() -> NoReturn:
    """Call `sys.exit`, which must not end whoever asks for the result."""
    sys.exit(3)


@task
def kill_own_worker() -> NoReturn:
    """End the process it runs in, as the out-of-memory killer would."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL returned")


@task
def die_while_sending() -> bytes:
    """End the process it runs in when half of its result is sent."""

    def send_half(self: Connection, data: memoryview) -> NoReturn:
        os.write(self.fileno(), data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("SIGKILL returned")

    Connection._send = send_half  # type: ignore[attr-defined]
    return bytes(1000)


@task
def wait_for_file(path: str) -> str:
    """Announce itself in ``path`` + ``.waiting``, then wait until ``path`` is there."""
    Path(f"{path}.waiting").write_text(str(os.getpid()), encoding="utf-8")
    never = threading.Event()
    while not Path(path).exists():
        never.wait(0.005)
    return path
