"""The command line that every miniature has: runs its ways in turn, verifies, shows, keeps."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing.context import BaseContext
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, ClassVar

from measuring import Run
from tasks import give

from proxystore.connectors.shm import ShmConnector
from proxystore.store import Store

__all__ = ["Miniature", "main"]

_START_S = 60.0
_PRELOADED = ("numpy", "proxystore_patterns.futures", "proxystore_patterns.ownership")


class Miniature(ABC):
    """A workflow made small, which runs in several ways.

    Args:
        options: Of the command line.
        folder: An empty one, for its input.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    ways: ClassVar[tuple[str, ...]]
    """The first is without any of ours, the last with the pattern."""

    @abstractmethod
    def __init__(self, options: argparse.Namespace, folder: Path) -> None: ...

    @property
    @abstractmethod
    def workers(self) -> int:
        """How many processes the pool has."""

    # Any: what is handed on, and results, which are whatever JSON can hold.
    def handed(self, context: BaseContext) -> tuple[Any, ...]:
        """What workers of the next run shall have, such as queues; `tasks.given` gives it."""
        return ()

    @abstractmethod
    def expected(self) -> Any:
        """The result, computed in this process without a pool."""

    @abstractmethod
    def run(self, way: str, pool: Executor, store: Store[ShmConnector]) -> tuple[Run, Any]:
        """Run it once, and give what that took and the result."""


def main(
    miniature: type[Miniature],
    description: str | None,
    add_options: Callable[[argparse.ArgumentParser], None] = lambda _: None,
) -> int:
    """Run ``miniature`` as the command line says; 1 if two ways gave different results."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="of the input (default: 1)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each way (default: 3)")
    parser.add_argument("--tiny", action="store_true", help="input of a few kilobytes")
    parser.add_argument("--out", type=Path, help="file to write the figures to, as JSON")
    add_options(parser)
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1.")
    with tempfile.TemporaryDirectory(prefix=f"{miniature.name}-") as folder:
        return _measured(miniature(options, Path(folder)), options)


def _measured(miniature: Miniature, options: argparse.Namespace) -> int:
    load = os.getloadavg()[0]
    expected = miniature.expected()
    runs: dict[str, list[Run]] = {way: [] for way in miniature.ways}
    # In turn, so that a machine whose speed changes is fair to all.
    for number in range(options.rounds):
        for way in miniature.ways:
            _show(miniature, f"round {number + 1} of {options.rounds}, {way}")
            run, result = _run(miniature, way)
            if result != expected:
                print(f"{way}: the result differs from the right one.", file=sys.stderr)
                return 1
            runs[way].append(run)
    _show(miniature, "")
    shown = [sorted(each, key=lambda run: run.makespan_s)[len(each) // 2] for each in runs.values()]
    document = {
        "name": miniature.name,
        "title": miniature.title,
        "options": {k: v for k, v in vars(options).items() if k != "out"},
        "machine": _machine(load),
        "makespans_s": {way: [run.makespan_s for run in each] for way, each in runs.items()},
        "shown": [_as_dict(run) for run in shown],
    }
    _print(document, shown)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(document) + "\n", "utf-8")
    return 0


def _run(miniature: Miniature, way: str) -> tuple[Run, Any]:
    # A core for each task, as schedulers give it. Read by libraries as workers load them.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    # Not forked from this process: what it has would count for each of them.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_PRELOADED])
    all_there = context.Barrier(miniature.workers)
    with Store(miniature.name) as store:
        started = (all_there, miniature.handed(context))
        with ProcessPoolExecutor(miniature.workers, context, _start, started) as pool:
            # Starts a worker for each, since none of them is done before all are there.
            list(pool.map(int, range(miniature.workers)))
            run, result = miniature.run(way, pool, store)
        # Not before: a worker lets arguments go after it has sent the result.
        run.left_stored_nbytes = store.connector.census().nbytes
        return run, result


def _start(all_there: Barrier, handed: tuple[Any, ...]) -> None:
    give(*handed)
    all_there.wait(_START_S)


def _machine(load: float) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_before": round(load, 1),
    }


def _as_dict(run: Run) -> dict[str, Any]:
    return {
        "way": run.way,
        "makespan_s": run.makespan_s,
        "peak_private_nbytes": run.peak_private_nbytes,
        "peak_stored_nbytes": run.peak_stored_nbytes,
        "left_stored_nbytes": run.left_stored_nbytes,
        "spans": [span._asdict() for span in run.spans],
        "memory": run.memory,
    }


def _show(miniature: Miniature, state: str) -> None:
    """Say on a terminal, in one line, how far this is."""
    if sys.stderr.isatty():
        line = f"{miniature.name}: {state}" if state else ""
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


def _print(document: dict[str, Any], shown: list[Run]) -> None:
    machine, makespans = document["machine"], document["makespans_s"]
    print(
        f"{document['title']}\n{machine['cores']} cores, load {machine['load_before']} before, "
        f"Python {machine['python']}, seed {document['options']['seed']}; "
        f"all ways gave the right result\n"
    )
    first = statistics.median(makespans[shown[0].way])
    rows = [_HEADINGS, *(_row(run, makespans[run.way], first) for run in shown)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


_HEADINGS = (
    "way", "makespan s", "against first", "peak private MB", "peak stored MB", "left stored MB"
)


def _row(run: Run, makespans: list[float], first: float) -> tuple[str, ...]:
    median = statistics.median(makespans)
    memory = (run.peak_private_nbytes, run.peak_stored_nbytes, run.left_stored_nbytes)
    return (
        run.way,
        f"{median:.2f} [{min(makespans):.2f}, {max(makespans):.2f}]",
        f"{100 * (median / first - 1):+.0f} %",
        *(f"{nbytes / 1e6:.0f}" for nbytes in memory),
    )
