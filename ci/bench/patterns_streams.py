"""Rows of streams: beside objects sent through the broker itself, and the older system's."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack

from processes import MeasuringProcess
from report import Row
from servers import redis_server

_SIZES = {"10 KB": 10_000, "1 MB": 1_000_000, "10 MB": 10_000_000, "100 MB": 100_000_000}
_ROUNDS = {"10 KB": 30, "1 MB": 20, "10 MB": 15, "100 MB": 7}
_PER_ROUND = {"10 KB": 50, "1 MB": 10, "10 MB": 3, "100 MB": 1}
_WANTED = {"10 KB": 0.95, "10 MB": 7.0, "100 MB": 7.0}


_CARRIERS = {"list": "Redis list", "channel": "Redis pub/sub"}


def measure(peer: str) -> Iterator[Row]:
    """Yield a row a size and other side: from `send` until the other process uses the object."""
    with redis_server() as port:
        for carrier in _CARRIERS:
            yield from _measure_by(carrier, str(port), peer)


def _measure_by(carrier: str, port: str, peer: str) -> Iterator[Row]:
    sides = {"ours": sys.executable, "plain": sys.executable, "older": peer}
    with ExitStack() as stack:
        processes = {
            side: stack.enter_context(
                MeasuringProcess(python, "streams.py", side, carrier, port, f"{carrier}-{side}")
            )
            for side, python in sides.items()
        }
        by = _CARRIERS[carrier]
        for label in _SIZES:
            samples = _interleaved(label, processes)
            for side, title in (("plain", f"pickled into the {by}"), ("older", "1.1.0")):
                target = _WANTED.get(label) if side == "plain" else None
                name = f"stream by {by} and shared memory beside {title}, {label}"
                yield Row.compared(name, samples["ours"], samples[side], wanted=target)


def _interleaved(label: str, processes: dict[str, MeasuringProcess]) -> dict[str, list[float]]:
    request = {"nbytes": _SIZES[label], "n": _PER_ROUND[label]}
    samples: dict[str, list[float]] = {side: [] for side in processes}
    for number in range(_ROUNDS[label] + 1):
        order = list(processes.items())
        for side, process in order if number % 2 else reversed(order):
            seconds = process.ask(**request)["seconds"]
            if number:  # The first round warms them up.
                samples[side].append(statistics.median(seconds) * 1e3)
    return samples
