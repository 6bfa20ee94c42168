"""The table of `nox -s bench -- shm`: one node, beside whatever else passes arrays there.

Each row is put + pickle + another process + first use of a numpy array, in steady
state: what was put is evicted before the next. Between the processes is a pipe; with
Ray it is a call of an actor, for that is how Ray's users get there. The tasks of the
last rows are given an array of their own each.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Sequence
from functools import partial

from engines import Engine
from processes import MeasuringProcess
from report import Row
from samples import Estimate

_SIZES = {
    "10 B": 10,
    "1 KB": 1_000,
    "100 KB": 100_000,
    "1 MB": 1_000_000,
    "100 MB": 100_000_000,
    "1 GB": 1_000_000_000,
}
_ROUNDS = dict.fromkeys(_SIZES, 12) | {"100 MB": 5, "1 GB": 2}
_PER_ROUND = dict.fromkeys(_SIZES, 25) | {"1 MB": 10, "100 MB": 2, "1 GB": 1}
_OLDER = {"1 KB": 4.0, "1 MB": 8.0, "100 MB": 15.0}
_LITTLE_PRIVATE = 0.02
_N_TASKS = 200
_ROUNDS_OF_TASKS = 3
_ENGINES: dict[str, dict[str, float]] = {
    "pool": {"1 KB": 1 / 1.2, "1 MB": 1.5, "10 MB": 15.0},
    "dask": {},
    "parsl": {},
}


def measure(peer: str) -> Iterator[Row]:
    """Yield the rows one by one; `peer` is a Python with the older system, Ray and joblib."""
    with _started(sys.executable, "shm") as ours:
        with _started(peer, "file") as older:
            yield from _against(ours, older, "1.1.0 file", _OLDER)
            yield _compared(ours, older, "1.1.0 file", "100 MB", 6.0, op="every byte")
        with MeasuringProcess(peer, "actors.py") as ray:
            yield from _against(ours, ray, "Ray", dict.fromkeys(_SIZES, 1.0))
        for name, medium in (
            ("joblib", "joblib"),
            ("multiprocessing.shared_memory", "shared_memory"),
            ("pickle through a pipe", "by value"),
        ):
            with _started(peer, medium) as other:
                yield from _against(ours, other, name, dict.fromkeys(_SIZES, None))
        yield from _of_memcpy(ours)
        yield from _private(ours)
    yield from _other_ways(peer)
    for kind, wanted in _ENGINES.items():
        yield from _tasks(kind, wanted)


def _started(python: str, medium: str, options: str = "{}") -> MeasuringProcess:
    return MeasuringProcess(python, "roundtrip.py", medium, options)


def _against(
    ours: MeasuringProcess,
    theirs: MeasuringProcess,
    name: str,
    wanted: dict[str, float] | dict[str, float | None],
) -> Iterator[Row]:
    for label in _SIZES:
        yield _compared(ours, theirs, name, label, wanted.get(label))


def _compared(
    ours: MeasuringProcess,
    theirs: MeasuringProcess,
    name: str,
    label: str,
    wanted: float | None,
    op: str = "first use",
) -> Row:
    mine, others = _interleaved(label, (ours, theirs), op)
    return Row.compared(f"beside {name}, {op}, {label}", mine, others, wanted=wanted)


def _interleaved(label: str, sides: Sequence[MeasuringProcess], op: str) -> list[list[float]]:
    """Milliseconds, a median a round and side."""
    request = {"op": op, "nbytes": _SIZES[label], "n": _PER_ROUND[label]}
    samples: list[list[float]] = [[] for _ in sides]
    for number in range(_ROUNDS[label] + 1):
        order = list(zip(sides, samples, strict=True))
        for side, series in order if number % 2 else reversed(order):
            seconds = side.ask(**request)["seconds"]
            if number:  # The first round warms them up.
                series.append(statistics.median(seconds) * 1e3)
    return samples


def _of_memcpy(ours: MeasuringProcess) -> Iterator[Row]:
    """The share that one copy of the array has of the whole way."""
    for label in ("100 MB", "1 GB"):
        copies: list[float] = []
        wholes: list[float] = []
        # In turn, for what others do on the machine slows both.
        for number in range(2 * _ROUNDS[label] + 1):
            copied = ours.ask(op="memcpy", nbytes=_SIZES[label], n=1)
            whole = ours.ask(op="first use", nbytes=_SIZES[label], n=1)["seconds"]
            if number:
                copies += [each * 1e3 for each in copied]
                wholes += [each * 1e3 for each in whole]
        name = f"share of memcpy in the whole way, {label}"
        yield Row.compared(name, wholes, copies, wanted=0.75)


def _private(ours: MeasuringProcess) -> Iterator[Row]:
    grown = ours.ask(op="memory", nbytes=_SIZES["100 MB"])
    for who, field in (("writer", "put"), ("reader", "get")):
        share = grown[field] / grown["nbytes"]
        title = f"private memory of the {who}, 100 MB"
        yield Row(title, "x object", _one(share), None, None, "<= 0.02", share <= _LITTLE_PRIVATE)


def _other_ways(peer: str) -> Iterator[Row]:
    """A medium that was never written to, one that is always checked, and no medium at all."""
    with _started(peer, "file") as older:
        first: list[float] = []
        theirs: list[float] = []
        for _ in range(5):
            with _started(sys.executable, "shm") as fresh:
                fresh.ask(op="first use", nbytes=1000, n=5)
                request = {"op": "first use", "nbytes": _SIZES["100 MB"], "n": 1}
                first += [each * 1e3 for each in fresh.ask(**request)["seconds"]]
                theirs += [each * 1e3 for each in older.ask(**request)["seconds"]]
        name = "beside 1.1.0 file, first object of a fresh arena, 100 MB"
        yield Row.compared(name, first, theirs, wanted=3)
        with _started(sys.executable, "shm", '{"verify": "always"}') as checking:
            for label in ("1 MB", "100 MB"):
                yield _compared(checking, older, "1.1.0 file, verify='always'", label, None)
        with _started(sys.executable, "shm", '{"inline_nbytes": 16384}') as carrying:
            yield _compared(carrying, older, "1.1.0 file, carried in its proxy", "1 KB", None)


def _tasks(kind: str, wanted: dict[str, float]) -> Iterator[Row]:
    with Engine.started(kind) as engine:
        row = partial(engine.beside_value, n_tasks=_N_TASKS, n_rounds=_ROUNDS_OF_TASKS)
        for label in ("1 KB", "1 MB", "10 MB"):
            yield row("proxy", "by proxy", label, wanted=wanted.get(label))
        yield row("carried", "by a proxy that carries it", "1 KB", wanted=None)


def _one(value: float) -> Estimate:
    return Estimate(value, value, value)
