"""What ownership costs: beside a plain proxy, the older system, and passing the object itself."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from typing import Any

from processes import MeasuringProcess
from report import Row
from samples import Estimate, median_of

_MOST_NS = 200.0
_USES = ("getattr", "method call", "item", "len")
_ROUNDS = 40
# By call: bytes, how many in a round, and how many times as quick as the older system it shall be.
_CALLS = {
    "own and drop 1 KB": ("own", 1_000, 20, 1.0),
    "borrow": ("borrow", 0, 200, 1.0),
    "borrow mutably": ("mut_borrow", 0, 200, 1.0),
    "own, move and read 1 KB": ("move", 1_000, 20, 1.0),
    "own, move and read 1 MB": ("move", 1_000_000, 10, 1.0),
    "own, move and read 10 MB": ("move", 10_000_000, 3, 1.0),
}


def measure(peer: str) -> Iterator[Row]:
    """Yield the rows one by one; `peer` is a Python that has the older system."""
    with (
        MeasuringProcess(sys.executable, "ownership.py", "ours") as ours,
        MeasuringProcess(peer, "ownership.py", "proxystore") as theirs,
    ):
        for use in _USES:
            yield from _uses(use, ours, theirs)
        for label, (call, nbytes, n, wanted) in _CALLS.items():
            yield from _calls(label, (call, nbytes, n), wanted, ours, theirs)


def _uses(use: str, ours: MeasuringProcess, theirs: MeasuringProcess) -> Iterator[Row]:
    owned, plain, older = _in_turn(
        (ours, {"use": use, "kind": "owned"}),
        (ours, {"use": use, "kind": "plain"}),
        (theirs, {"use": use, "kind": "owned"}),
    )
    more = statistics.median(a - b for a, b in zip(owned, plain, strict=True))
    label, wanted = f"{use} of an OwnedProxy beside a Proxy", f"<= {_MOST_NS:g} ns more"
    yield _row(label, "ns", owned, plain, wanted, met=more <= _MOST_NS)
    yield _beside_older(f"{use} of an OwnedProxy beside 1.1", "ns", owned, older, 1.0)


def _calls(
    label: str,
    call: tuple[str, int, int],
    wanted: float,
    ours: MeasuringProcess,
    theirs: MeasuringProcess,
) -> Iterator[Row]:
    name, nbytes, n = call
    # Any: as `MeasuringProcess.ask` takes.
    request: dict[str, Any] = {"call": name, "nbytes": nbytes, "n": n}
    asked = [(ours, request), (theirs, request)]
    if name == "move":
        asked.append((ours, request | {"call": "plain"}))
    mine, older, *plain = _in_turn(*asked)
    yield _beside_older(f"{label} beside 1.1", "us", mine, older, wanted)
    for each in plain:
        yield _row(f"{label} beside a pickle of the object", "us", mine, each)


def _in_turn(*asked: tuple[MeasuringProcess, dict[str, Any]]) -> list[list[float]]:
    samples: list[list[float]] = [[] for _ in asked]
    for number in range(_ROUNDS + 1):
        # Who goes first alternates, so nobody always finds the caches warm.
        places = range(len(asked))
        for place in places if number % 2 else reversed(places):
            process, request = asked[place]
            value = process.ask(**request)
            if number > 0:  # The first round warms all up.
                samples[place].append(value)
    return samples


def _beside_older(
    label: str, unit: str, ours: list[float], theirs: list[float], at_least: float
) -> Row:
    met = _ratio(theirs, ours).median >= at_least
    return _row(label, unit, ours, theirs, f">= {at_least:g}x", met=met)


def _row(
    label: str,
    unit: str,
    ours: list[float],
    theirs: list[float],
    wanted: str | None = None,
    *,
    met: bool | None = None,
) -> Row:
    ratio = _ratio(theirs, ours)
    return Row(label, unit, median_of(ours), median_of(theirs), ratio, wanted, met)


def _ratio(theirs: list[float], ours: list[float]) -> Estimate:
    # Round by round, for the clock of a machine that is shared changes within a row.
    return median_of([other / mine for other, mine in zip(theirs, ours, strict=True)])
