"""Tasks of engines, with their arguments by `StoreExecutor`, beside the same ones by value."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from processes import MeasuringProcess
from report import Row
from samples import median_of, ratio_of

_NBYTES = {"1 KB": 1_000, "1 MB": 1_000_000, "10 MB": 10_000_000}
_N_TASKS = {"1 KB": 500, "1 MB": 100, "10 MB": 40}
_ROUNDS = {"1 KB": 9, "1 MB": 5, "10 MB": 3}
_ENGINES: tuple[tuple[str, str, dict[str, float]], ...] = (
    ("pool", "a process pool", {"1 KB": 1 / 1.1, "1 MB": 1.5, "10 MB": 10.0}),
    ("dask", "Dask", {"1 MB": 1.4, "10 MB": 5.0}),
    ("parsl", "Parsl", {"1 MB": 1.4, "10 MB": 5.0}),
)


def measure(_: str) -> Iterator[Row]:
    """Yield the rows one by one; there is no older system to compare with."""
    for engine, name, targets in _ENGINES:
        with MeasuringProcess(sys.executable, "executors.py", engine) as process:
            for label in _NBYTES:
                yield _beside_plain(process, name, label, targets.get(label))


def _beside_plain(process: MeasuringProcess, name: str, label: str, wanted: float | None) -> Row:
    plain: list[float] = []
    by_store: list[float] = []
    n = _N_TASKS[label]
    for number in range(_ROUNDS[label] + 1):
        for series, by in ((plain, "value"), (by_store, "store")):
            took = process.ask(nbytes=_NBYTES[label], n=n, by=by)
            # The first round warms up.
            if number:
                series.append(took * 1e3)
    ratio = ratio_of(plain, by_store)
    return Row(
        f"{n} tasks of {name} by StoreExecutor, beside plain, {label}",
        "ms",
        median_of(by_store),
        median_of(plain),
        ratio,
        wanted=None if wanted is None else f">= {wanted:.2g}x",
        met=None if wanted is None else ratio.median >= wanted,
    )
