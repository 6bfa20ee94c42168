"""Tasks of engines, with their arguments by `StoreExecutor`, beside the same ones by value."""

from __future__ import annotations

from collections.abc import Iterator

from engines import Engine
from report import Row

# For each size: tasks of a round, and rounds.
_SIZES = {"1 KB": (500, 15), "1 MB": (100, 7), "10 MB": (40, 5)}
_WANTED: dict[str, dict[str, float]] = {
    "pool": {"1 KB": 1 / 1.1, "1 MB": 1.5, "10 MB": 10.0},
    "dask": {"1 MB": 1.4, "10 MB": 5.0},
    "parsl": {"1 MB": 1.4, "10 MB": 5.0},
}


def measure(_: str) -> Iterator[Row]:
    """Yield the rows one by one; there is no older system to compare with."""
    for kind, wanted in _WANTED.items():
        with Engine.started(kind) as engine:
            for label, (n_tasks, n_rounds) in _SIZES.items():
                yield engine.beside_value(
                    "executor",
                    "by StoreExecutor",
                    label,
                    n_tasks=n_tasks,
                    n_rounds=n_rounds,
                    wanted=wanted.get(label),
                )
