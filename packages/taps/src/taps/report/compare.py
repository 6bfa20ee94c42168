"""Two runs side by side, on a terminal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TextIO

from rich.console import Console
from rich.table import Table

from taps.report.analysis import TimeSplit, time_split
from taps.report.runs import Run, read_run
from taps.report.units import bytes_text, ratio_text, seconds_text

__all__ = ["compare", "compare_runs"]

EXIT_GOOD, EXIT_WRONG, EXIT_USAGE = 0, 1, 2

_SPLIT = (
    ("in tasks", "task_s"),
    ("in input transforms", "input_transform_s"),
    ("in result transforms", "result_transform_s"),
    ("moving data", "transit_s"),
    ("idle", "idle_s"),
)


def compare(
    run_a: str | os.PathLike[str],
    run_b: str | os.PathLike[str],
    out: TextIO | None = None,
    *,
    force: bool = False,
) -> int:
    """Print two runs side by side, with the ratio of the second to the first.

    Args:
        run_a: A run directory.
        run_b: Another.
        out: Where to; standard output by default.
        force: Compare runs of different applications or parameters too.

    Returns:
        An exit code: 0; 1 if a result is not verified; 2 if the runs solved different
        problems and ``force`` is not given, in which case nothing is compared.

    Raises:
        RunError: One of them cannot be read.
    """
    return compare_runs(read_run(run_a), read_run(run_b), Console(file=out), force=force)


def compare_runs(first: Run, second: Run, console: Console, *, force: bool = False) -> int:
    """As `compare`, of runs that were read."""
    if not force and first.problem != second.problem:
        console.print(
            f"These runs solved different problems:\n  {first.problem}\n  {second.problem}\n"
            f"Their times say nothing about each other. Add --force to compare them all the same.",
            markup=False,
            highlight=False,
        )
        return EXIT_USAGE
    console.print(_table(first, second))
    for run in (first, second):
        if run.note:
            console.print(run.note, markup=False, highlight=False)
        if not run.verified:
            line = f"The result in {run.path} is not verified: {run.detail}"
            console.print(line, markup=False, highlight=False)
    return EXIT_GOOD if first.verified and second.verified else EXIT_WRONG


def _table(first: Run, second: Run) -> Table:
    title = first.problem if first.problem == second.problem else "different problems"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for run in (first, second):
        table.add_column(f"{run.path.name}\n{run.way}", justify="right", overflow="fold")
    table.add_column("ratio", justify="right")
    table.add_row("verified", _yes(first), _yes(second), "")
    for name, left, right, text in _rows(first, second):
        table.add_row(name, text(left), text(right), ratio_text(right / left if left else None))
    return table


def _yes(run: Run) -> str:
    return "yes" if run.verified else "NO"


def _rows(first: Run, second: Run) -> Iterator[tuple[str, float, float, Callable[[float], str]]]:
    yield "makespan", first.makespan_s, second.makespan_s, seconds_text
    yield "tasks", first.n_tasks, second.n_tasks, _whole
    yield "failed", first.failed, second.failed, _whole
    yield "moved by value", first.by_value_nbytes, second.by_value_nbytes, bytes_text
    yield "moved by reference", first.by_reference_nbytes, second.by_reference_nbytes, bytes_text
    if not (first.tasks and second.tasks):
        return  # Without task records nobody knows where the time went.
    splits: tuple[TimeSplit, TimeSplit] = (time_split(first), time_split(second))
    for name, field in _SPLIT:
        left, right = (getattr(split, field) for split in splits)
        yield f"worker time {name}", left, right, seconds_text


def _whole(number: float) -> str:
    return f"{number:,.0f}"
