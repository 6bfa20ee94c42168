"""The demonstration: two applications on two processes, by value and by proxy."""

from __future__ import annotations

import dataclasses
import shutil
import statistics
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from taps.apps import AppConfig
from taps.apps.cholesky import CholeskyConfig
from taps.apps.corpus import find_text, standard_library
from taps.apps.mapreduce import MapReduceConfig
from taps.report import Run, group_by_problem, read_run, write_html
from taps.report.units import bytes_text, ratio_text, seconds_text
from taps.run import Config, run
from taps.run.progress import bar_on

__all__ = ["demo"]

_PROCESSES = 2
_WAYS = ("none", "proxystore")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - asked for its size
_REPEAT_WITHIN_S = 22.0
"""A machine that needs longer for one run of each does not get a second."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Problems:
    mapreduce: MapReduceConfig
    cholesky: CholeskyConfig
    stored_nbytes: int
    """More than any run puts into its store."""

    def __iter__(self) -> Iterator[AppConfig]:
        return iter((self.mapreduce, self.cholesky))


_FULL = _Problems(
    MapReduceConfig(pattern="*.py"), CholeskyConfig(matrix_size=6144, block_size=768), 10**9
)
_QUICK = _Problems(
    MapReduceConfig(pattern="a*.py", map_tasks=8),
    CholeskyConfig(matrix_size=1536, block_size=256),
    10**8,
)


def demo(out: Path | None = None, *, quick: bool = False, console: Console | None = None) -> int:
    """Run word count and Cholesky by value and by proxy; print a table, write a report.

    Each is run twice in opposite orders, unless the machine is slow, so that neither way
    profits from what the other has warmed up.

    Args:
        out: Directory of the run directories and ``report.html``, made if absent;
            ``runs/demo`` by default.
        quick: Solve problems that are small enough for a test.
        console: Where to print; standard output by default.

    Returns:
        An exit code: 0 if every result was verified, else 1.

    Raises:
        RunError: ``out`` cannot be written to.
        KeyboardInterrupt: Ctrl-C. Workers were ended.
    """
    out, console = (out or Path("runs/demo")).absolute(), console or Console()
    problems = _QUICK if quick else _FULL
    opening = f"Two applications on {_PROCESSES} processes, by value and by proxy."
    console.print(opening, highlight=False)
    _warm_up(problems.mapreduce, console)
    in_memory = _fits_shared_memory(problems.stored_nbytes)
    if not in_memory:
        console.print("There is too little shared memory free: proxies go through files.")
    runs = _run_all(problems, out, console, repeat=not quick, in_memory=in_memory)
    groups = group_by_problem(runs)
    console.print(_table(groups))
    for group in groups.values():
        console.print(_verdict(group), highlight=False)
    report = write_html(runs, out / "report.html")
    console.print(f"Report: {report}", soft_wrap=True, markup=False, highlight=False)
    return 0 if all(run.verified for run in runs) else 1


def _warm_up(config: MapReduceConfig, console: Console) -> None:
    # Reading it cold took 13 s and counting it 2 s, and only the first run would pay.
    console.print("Reading the text once, so that no run has to wait for the disk.")
    with ThreadPoolExecutor(16) as readers:
        found = find_text(standard_library(), config.pattern)
        list(readers.map(Path.read_bytes, [Path(file.path) for file in found]))


def _fits_shared_memory(nbytes: int) -> bool:
    # A container has 64 MB unless told otherwise. Where there is no such directory, a
    # store without options is on a disk anyway.
    return not _SHARED_MEMORY.is_dir() or shutil.disk_usage(_SHARED_MEMORY).free > nbytes


def _run_all(
    problems: _Problems, out: Path, console: Console, *, repeat: bool, in_memory: bool
) -> list[Run]:
    began = time.monotonic()
    trials = [(app, way) for app in problems for way in _WAYS]
    runs = [_run_one(app, way, out, console, in_memory=in_memory) for app, way in trials]
    if repeat and time.monotonic() - began < _REPEAT_WITHIN_S:
        runs += [
            _run_one(app, way, out, console, in_memory=in_memory) for app, way in reversed(trials)
        ]
    order = [(app.name, way) for app, way in trials]
    return sorted(runs, key=lambda run: (order.index((run.app, run.transformer)), run.start_time))


def _run_one(app: AppConfig, way: str, out: Path, console: Console, *, in_memory: bool) -> Run:
    directory = str(out).replace("{", "{{").replace("}", "}}")
    config = Config.from_mapping({
        "app": app.model_dump(mode="json"),
        "engine": {
            "executor": {"name": "process-pool", "max_processes": _PROCESSES},
            "transformer": _transformer(way, out, in_memory=in_memory),
        },
        "run": {"dir_format": f"{directory}/{{name}}_{{transformer}}_{{timestamp}}"},
    })
    done = read_run(run(config, progress=bar_on(console)).run_dir)
    verdict = "verified" if done.verified else f"NOT VERIFIED: {done.detail}"
    makespan = _makespan_text([done])
    line = f"  {done.app:<10} {done.passing:<9} {makespan:>7}  {verdict}"
    console.print(line, markup=False, highlight=False)
    return done


def _transformer(way: str, out: Path, *, in_memory: bool) -> str | dict[str, Any]:
    if way == "none" or in_memory:
        return way
    directory = out / f"objects-{uuid.uuid4().hex}"  # The store owns only what it made.
    return {"name": way, "connector": {"kind": "file", "options": {"store_dir": str(directory)}}}


def _table(groups: Mapping[str, Sequence[Run]]) -> Table:
    repeats = min(len(group) for group in groups.values()) // len(_WAYS)
    title = "One run each" if repeats == 1 else f"Medians of {repeats} runs each"
    table = Table(title=title, title_justify="left")
    for name in ("app", "objects", "verified"):
        table.add_column(name)
    for name in ("makespan", "via executor", "into store", "speed-up"):
        table.add_column(name, justify="right")
    for group in groups.values():
        base = _makespan(_of_way(group, "none"))
        for way in _WAYS:
            table.add_row(*_row(_of_way(group, way), base))
    return table


def _row(runs: Sequence[Run], base: float) -> tuple[str, ...]:
    makespan, last = _makespan(runs), runs[-1]
    return (
        last.app,
        last.passing,
        "yes" if all(run.verified for run in runs) else "NO",
        _makespan_text(runs),
        bytes_text(last.by_value_nbytes),
        bytes_text(last.by_reference_nbytes),
        ratio_text(base / makespan if makespan else None),
    )


def _verdict(group: Sequence[Run]) -> str:
    """A sentence that claims a difference only where all runs of one way beat all of the other."""
    value, proxy = (_of_way(group, way) for way in _WAYS)
    if not all(run.verified for run in group):
        return f"{group[0].app}: no comparison, for a result is wrong or missing."
    moved = bytes_text(value[-1].by_value_nbytes)
    if max(_makespans(proxy)) < min(_makespans(value)):
        gain = ratio_text(_makespan(value) / _makespan(proxy))
        found = f"{gain} as fast by proxy; {moved} no longer pass through the executor"
    elif min(_makespans(proxy)) > max(_makespans(value)):
        loss = ratio_text(_makespan(proxy) / _makespan(value))
        found = f"no gain, it takes {loss} as long by proxy; only {moved} were to be saved"
    else:
        found = f"no clear difference, the runs overlap; only {moved} were to be saved"
    caution = ", in one run of each, which may be chance" if len(proxy) == 1 else ""
    return f"{group[0].app}: {found}{caution}."


def _of_way(group: Sequence[Run], way: str) -> list[Run]:
    return [run for run in group if run.transformer == way]


def _makespans(runs: Sequence[Run]) -> list[float]:
    return [run.makespan_s for run in runs]


def _makespan_text(runs: Sequence[Run]) -> str:
    return seconds_text(_makespan(runs)) if all(_makespans(runs)) else "failed"


def _makespan(runs: Sequence[Run]) -> float:
    return statistics.median(_makespans(runs))
