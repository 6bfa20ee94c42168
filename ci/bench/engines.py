"""Rows of tasks of engines, beside the same ones with their arguments by value."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from processes import MeasuringProcess
from report import Row

_NBYTES = {"1 KB": 1_000, "1 MB": 1_000_000, "10 MB": 10_000_000}
_NAMES = {"pool": "a process pool", "dask": "Dask", "parsl": "Parsl"}


@dataclass(frozen=True)
class Engine:
    """An engine that is running, with the same processes for all rows."""

    name: str
    process: MeasuringProcess

    @classmethod
    @contextmanager
    def started(cls, kind: str) -> Iterator[Engine]:
        """``pool``, ``dask`` or ``parsl``."""
        with MeasuringProcess(sys.executable, "tasks.py", kind) as process:
            yield cls(_NAMES[kind], process)

    def beside_value(
        self, by: str, how: str, label: str, *, n_tasks: int, n_rounds: int, wanted: float | None
    ) -> Row:
        """Tasks with their arguments one way, and by value, in turn.

        Args:
            by: The way, as the worker calls it.
            how: What the row calls it.
            label: The size of the arguments.
            n_tasks: Of a round.
            n_rounds: Of each, after one that warms up.
            wanted: How many times as fast as by value they should be.
        """
        by_value: list[float] = []
        ours: list[float] = []
        for number in range(n_rounds + 1):
            for series, way in ((by_value, "value"), (ours, by)):
                took = self.process.ask(nbytes=_NBYTES[label], n=n_tasks, by=way)
                if number:
                    series.append(took * 1e3)
        name = f"{n_tasks} tasks of {self.name} {how}, beside by value, {label}"
        return Row.compared(name, ours, by_value, wanted=wanted)
