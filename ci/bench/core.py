"""The table of `nox -s bench -- core`: the core of this repository beside the older system."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator

from processes import MeasuringProcess
from report import Row
from samples import median_of, ratio_of

_SIZES = {"1 KB": 1_000, "1 MB": 1_000_000, "100 MB": 100_000_000}
_TARGETS = {"1 KB": 2.0, "1 MB": 2.0, "100 MB": 3.0}
_ROUNDS = {"1 KB": 30, "1 MB": 30, "100 MB": 15}
_PER_ROUND = {"1 KB": 50, "1 MB": 20, "100 MB": 1}


def measure(peer: str) -> Iterator[Row]:
    """Yield the rows one by one; `peer` is a Python that has `proxystore==1.1.0`."""
    with (
        MeasuringProcess(sys.executable, "roundtrip.py", "file", "{}") as ours,
        MeasuringProcess(peer, "roundtrip.py", "file", "{}") as theirs,
    ):
        for label in _SIZES:
            yield from _roundtrip(label, "first use", ours, theirs, target=_TARGETS[label])
        yield from _roundtrip("100 MB", "every byte", ours, theirs, target=None)
        yield _pickled(ours, theirs)
        yield from _private_memory(ours, theirs)
    yield _threads(peer)
    yield _imports(peer)
    yield _engine()


def _roundtrip(
    label: str, op: str, ours: MeasuringProcess, theirs: MeasuringProcess, target: float | None
) -> Iterator[Row]:
    """The whole way, and the part of it in which one of the processes is at work."""
    request = {"op": op, "nbytes": _SIZES[label], "n": _PER_ROUND[label]}
    samples: dict[tuple[str, MeasuringProcess], list[float]] = defaultdict(list)
    for number in range(_ROUNDS[label] + 1):
        # Who goes first alternates, so neither always finds the caches warm.
        for side in (ours, theirs) if number % 2 else (theirs, ours):
            answer = side.ask(**request)
            if number == 0:  # The first round warms both up.
                continue
            for part in ("seconds", "at work"):
                samples[part, side].append(statistics.median(answer[part]) * 1e3)
    name = f"put + pickle + other process + {op}, {label}"
    for part, title, wanted in (
        ("seconds", name, target),
        ("at work", f"  of it at work, without pipe and waking, {op}, {label}", None),
    ):
        mine, peers = samples[part, ours], samples[part, theirs]
        yield Row.compared(title, mine, peers, wanted=wanted)


def _pickled(ours: MeasuringProcess, theirs: MeasuringProcess) -> Row:
    request = {"op": "first use", "nbytes": 1000, "n": 1}
    mine, peers = (side.ask(**request)["pickled"] for side in (ours, theirs))
    return Row.single("pickled store proxy", "bytes", mine, peers, wanted="<= 200", met=mine <= 200)


def _private_memory(ours: MeasuringProcess, theirs: MeasuringProcess) -> Iterator[Row]:
    request = {"op": "memory", "nbytes": _SIZES["100 MB"]}
    grown = {side: [side.ask(**request) for _ in range(5)] for side in (ours, theirs)}
    for where, field in (("writer", "put"), ("reader", "get")):
        mine, peers = (
            statistics.median(100 * run[field] / run["nbytes"] for run in grown[side])
            for side in (ours, theirs)
        )
        yield Row.single(
            f"private memory of the {where}, 100 MB",
            "% of array",
            mine,
            peers,
            wanted="<= 5",
            met=mine <= 5,
        )


def _threads(peer: str) -> Row:
    samples: dict[str, list[float]] = {sys.executable: [], peer: []}
    with (
        MeasuringProcess(sys.executable, "threads.py") as ours,
        MeasuringProcess(peer, "threads.py") as theirs,
    ):
        for _ in range(5):
            samples[sys.executable] += ours.ask(n=1)
            samples[peer] += theirs.ask(n=1)
    mine, peers = median_of(samples[sys.executable]), median_of(samples[peer])
    ratio = ratio_of(samples[peer], samples[sys.executable])
    met = mine.median <= 0.15
    return Row("8 threads x 8 keys, 0.1 s connector", "s", mine, peers, ratio, "<= 0.15", met)


def _imports(peer: str) -> Row:
    samples: dict[str, list[float]] = {sys.executable: [], peer: []}
    for _ in range(15):
        for python, series in samples.items():
            bare = _process_ms(python, "pass")
            series.append(_process_ms(python, "import proxystore.store") - bare)
    mine, peers = median_of(samples[sys.executable]), median_of(samples[peer])
    ratio = ratio_of(samples[peer], samples[sys.executable])
    met = mine.median <= 80
    return Row("import proxystore.store over bare Python", "ms", mine, peers, ratio, "<= 80", met)


def _process_ms(python: str, code: str) -> float:
    start = time.perf_counter()
    subprocess.run([python, "-I", "-c", code], check=True)
    return (time.perf_counter() - start) * 1e3


def _engine() -> Row:
    with MeasuringProcess(sys.executable, "engine.py") as process:
        process.ask(n=2000)
        runs = [process.ask(n=2000) for _ in range(15)]
    added = median_of([(run["engine"] - run["raw"]) * 1e6 for run in runs])
    raw = median_of([run["raw"] * 1e6 for run in runs])
    return Row(
        "taps engine with records, over the raw pool (second column)",
        "us a task",
        added,
        raw,
        ratio=None,
        wanted="<= 60",
        met=added.median <= 60,
    )
