"""Run a function in a forked child, and bring back what it returned or raised."""

from __future__ import annotations

import os
import pickle
import select
import signal
import traceback
import warnings
from collections.abc import Callable
from typing import TypeVar

__all__ = ["in_forked_child"]

T = TypeVar("T")

_TIMEOUT = 30.0


def in_forked_child(function: Callable[[], T]) -> T:
    """What ``function`` returned in a fork of this process, pickled back.

    Raises:
        AssertionError: It raised, died, or took longer than 30 s; with its traceback.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # 3.12 warns of threads; connectors must survive exactly this.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _report_and_exit(function, writing)
    os.close(writing)
    try:
        report = _read_all(reading, child)
    finally:
        os.close(reading)
        os.waitpid(child, 0)
    returned, outcome = pickle.loads(report)
    if not returned:
        raise AssertionError(f"in the forked child:\n{outcome}")
    value: T = outcome
    return value


def _report_and_exit(function: Callable[[], object], writing: int) -> None:
    try:
        report = pickle.dumps((True, function()))
    except BaseException:
        report = pickle.dumps((False, traceback.format_exc()))
    try:
        with open(writing, "wb") as pipe:
            pipe.write(report)
    finally:
        # Past pytest's own clean-up, which belongs to the parent.
        os._exit(0)


def _read_all(reading: int, child: int) -> bytes:
    report = b""
    while True:
        ready, _, _ = select.select([reading], [], [], _TIMEOUT)
        if not ready:
            os.kill(child, signal.SIGKILL)
            raise AssertionError(f"the forked child hung for {_TIMEOUT} s")
        chunk = os.read(reading, 1 << 16)
        if not chunk:
            break
        report += chunk
    if not report:
        raise AssertionError("the forked child died without a report")
    return report
