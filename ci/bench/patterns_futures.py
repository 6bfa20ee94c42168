"""Rows of `nox -s bench -- patterns`: futures, beside the older system's and plain passing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from processes import MeasuringProcess
from report import Row
from samples import median_of, ratio_of
from servers import redis_server

_ROUNDS, _PER_ROUND = 6, 10
# The older system asks the medium, by default each second.
_EACH_MS = {"polling_interval": 0.001}
_CHAIN = {"op": "chain", "n": 10, "nbytes": 1_000_000, "options": _EACH_MS}
_CHAIN_ROUNDS = 5
# Seconds of a task before and after it needs its input.
_HALVES, _FIFTH = (0.05, 0.05), (0.02, 0.08)


def measure(peer: str) -> Iterator[Row]:
    """Yield the rows one by one; `peer` is a Python that has `proxystore==1.1.0`."""
    with redis_server() as port:
        place = json.dumps({"hostname": "127.0.0.1", "port": port})
        with _both(peer, ("redis", place), ("redis", place)) as (ours, theirs):
            yield _latency("Redis", ours, theirs, wanted_ms=2.0)
            yield _latency("Redis", ours, theirs, wanted_ms=2.0, options={}, per_round=2)
    with _both(peer, ("shm", "{}"), ("file", "{}")) as (ours, theirs):
        yield _latency("shared memory", ours, theirs, wanted_ms=1.0)
        yield _chain("half", _HALVES, ours, theirs, wanted_percent=30)
        yield _chain("a fifth", _FIFTH, ours, theirs, wanted_percent=None)


@contextmanager
def _both(
    peer: str, mine: tuple[str, str], peers: tuple[str, str]
) -> Iterator[tuple[MeasuringProcess, MeasuringProcess]]:
    """The worker in both environments, each with its medium and the options of that."""
    with (
        MeasuringProcess(sys.executable, "pipelined.py", *mine) as ours,
        MeasuringProcess(peer, "pipelined.py", *peers) as theirs,
    ):
        yield ours, theirs


def _latency(
    medium: str,
    ours: MeasuringProcess,
    theirs: MeasuringProcess,
    wanted_ms: float,
    options: dict[str, float] = _EACH_MS,
    per_round: int = _PER_ROUND,
) -> Row:
    """From before a result is set, the setting included, until another process has it."""
    samples: dict[MeasuringProcess, list[float]] = {ours: [], theirs: []}
    for number in range(_ROUNDS + 1):
        for side in (ours, theirs) if number % 2 else (theirs, ours):
            answer = side.ask(op="latency", n=per_round, nbytes=1000, options=options)
            if number:  # The first round warms both up.
                samples[side] += [seconds * 1e3 for seconds in answer]
    mine, peers = median_of(samples[ours]), median_of(samples[theirs])
    polls = "each ms" if options else "each second, its default"
    return Row(
        f"future set -> got by a process that waits, {medium} (theirs polls {polls})",
        "ms",
        mine,
        peers,
        ratio=ratio_of(samples[theirs], samples[ours]),
        wanted=f"<= {wanted_ms:g}",
        met=mine.median <= wanted_ms,
    )


def _chain(
    share: str,
    times: tuple[float, float],
    ours: MeasuringProcess,
    theirs: MeasuringProcess,
    wanted_percent: float | None,
) -> Row:
    """How much less the chain takes that is submitted at once, with futures between its tasks."""
    request = {**_CHAIN, "setup_s": times[0], "work_s": times[1]}
    saved: dict[MeasuringProcess, list[float]] = {ours: [], theirs: []}
    for number in range(_CHAIN_ROUNDS + 1):
        for side in (ours, theirs) if number % 2 else (theirs, ours):
            sequential = side.ask(**request, by="value")
            pipelined = side.ask(**request, by="future")
            if number:
                saved[side].append(100 * (1 - pipelined / sequential))
    mine = median_of(saved[ours])
    return Row(
        f"chain of 10 tasks, {share} of each before it needs its input, 1 MB between: "
        f"makespan under that of sequential submission by value",
        "%",
        mine,
        median_of(saved[theirs]),
        ratio=None,
        wanted=None if wanted_percent is None else f">= {wanted_percent:g}",
        met=None if wanted_percent is None else mine.median >= wanted_percent,
    )
