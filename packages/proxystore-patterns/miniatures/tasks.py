"""What workers do: each task, timed, and the store that results go to."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from proxystore.proxy import Proxy, extract
from proxystore.store import Store

__all__ = ["Span", "give", "given", "opened", "worked"]

# Any throughout: tasks of every signature.


class Span(NamedTuple):
    """One task; times are those of `time.monotonic`, which the processes of a host share."""

    task: str
    stage: str
    pid: int
    begun: float
    started: float
    """Its start-up is over."""
    supplied: float
    """It has its inputs."""
    ended: float


def worked(
    stage: str, task: str, startup_s: float, function: Callable[..., Any], *inputs: Any
) -> tuple[Span, Any]:
    """Run one task in a worker: wait for its start-up, get the inputs, compute.

    Args:
        stage: What tasks of this kind are called.
        task: What this one is called.
        startup_s: Seconds that stand for what a task does before it needs inputs.
        function: Takes the inputs themselves, even if proxies of them were given.
        inputs: Values or proxies.
    """
    begun = time.monotonic()
    time.sleep(startup_s)
    started = time.monotonic()
    values = [extract(each) if isinstance(each, Proxy) else each for each in inputs]
    supplied = time.monotonic()
    result = function(*values)
    return Span(task, stage, os.getpid(), begun, started, supplied, time.monotonic()), result


@functools.cache
def opened(url: str) -> Store[Any]:
    """The store at ``url``, opened once for each worker."""
    return Store.from_url(url)


_given: list[Any] = []


def give(*things: Any) -> None:
    """Keep what a worker was started with, for there is no other way to hand queues to tasks."""
    _given[:] = things


def given() -> tuple[Any, ...]:
    """What the worker was started with."""
    return tuple(_given)
