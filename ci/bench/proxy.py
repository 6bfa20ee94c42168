"""The table of `nox -s bench -- proxy`: a resolved proxy of ours beside those of others."""

from __future__ import annotations

import contextlib
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from processes import MeasuringProcess
from report import Row
from samples import Estimate, median_of

_OLDER = "proxystore"
_C_PROXIES = ("lazy-object-proxy", "wrapt")
_PURE_GAIN = 1.4
_SLACK_NS = 4.0
_ROUNDS = 60
# Making one proxy of wrapt takes as long as hundreds of the others.
_LOOPS = {"create": 50}


@dataclass(frozen=True)
class _Wanted:
    """What is wanted of one operation."""

    over_older: float
    """How many times the speed of the older system."""
    faster_than_c: bool = False
    """Whether the C proxies of others must be slower, rather than at most `_SLACK_NS` faster."""


_OPERATIONS = {
    "getattr": _Wanted(20, faster_than_c=True),
    "method call": _Wanted(8, faster_than_c=True),
    "item": _Wanted(8),
    "len": _Wanted(8),
    "add": _Wanted(8),
    "bool": _Wanted(8),
    "isinstance": _Wanted(10),
    "create": _Wanted(5),
}

_Samples = dict[str, list[float]]


def measure(peer: str) -> Iterator[Row]:
    """Yield the rows one by one; `peer` is a Python that has the other proxies."""
    pythons = {"c": sys.executable, "pure": sys.executable, _OLDER: peer}
    pythons |= dict.fromkeys(_C_PROXIES, peer)
    with contextlib.ExitStack() as stack:
        processes = {
            name: stack.enter_context(MeasuringProcess(python, "proxy.py", name))
            for name, python in pythons.items()
        }
        for operation, wanted in _OPERATIONS.items():
            yield from _rows(operation, wanted, _samples(operation, processes))


def _samples(operation: str, processes: dict[str, MeasuringProcess]) -> _Samples:
    samples: _Samples = {name: [] for name in processes}
    order = list(processes)
    for number in range(_ROUNDS + 1):
        # Who goes first alternates, so nobody always finds the caches warm.
        for name in order if number % 2 else reversed(order):
            nanoseconds = processes[name].ask(op=operation, n=_LOOPS.get(operation, 300))
            if number > 0:  # The first round warms all up.
                samples[name].append(nanoseconds)
    return samples


def _rows(operation: str, wanted: _Wanted, samples: _Samples) -> Iterator[Row]:
    yield _times_faster(operation, samples, "c", wanted.over_older)
    for name in _C_PROXIES:
        if wanted.faster_than_c:
            yield _times_faster(operation, samples, "c", 1.0, than=name)
        else:
            yield _hardly_slower(operation, samples, than=name)
    yield _times_faster(operation, samples, "pure", _PURE_GAIN)


def _times_faster(
    operation: str, samples: _Samples, ours: str, at_least: float, than: str = _OLDER
) -> Row:
    ratio = _ratio(samples[than], samples[ours])
    return _row(operation, samples, ours, than, f">= {at_least:g}x", met=ratio.median >= at_least)


def _hardly_slower(operation: str, samples: _Samples, than: str) -> Row:
    pairs = zip(samples["c"], samples[than], strict=True)
    slower_ns = statistics.median(ours - theirs for ours, theirs in pairs)
    wanted = f"<= {_SLACK_NS:g} ns slower"
    return _row(operation, samples, "c", than, wanted, met=slower_ns <= _SLACK_NS)


def _row(
    operation: str, samples: _Samples, ours: str, theirs: str, wanted: str, *, met: bool
) -> Row:
    label = f"{operation}: {'C' if ours == 'c' else 'pure Python'} beside {theirs}"
    mine, peers = median_of(samples[ours]), median_of(samples[theirs])
    return Row(label, "ns", mine, peers, _ratio(samples[theirs], samples[ours]), wanted, met)


def _ratio(theirs: list[float], ours: list[float]) -> Estimate:
    # Round by round, for the clock of a machine that is shared changes by half within a row,
    # and the medians of two series may come from different times.
    return median_of([other / mine for other, mine in zip(theirs, ours, strict=True)])
