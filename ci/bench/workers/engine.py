"""Measures what the engine of taps adds to a raw thread pool, per no-op task."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from taps.engine import Engine, JSONLinesRecordLogger, task


@task
def no_op() -> None:
    """Do nothing."""


def raw(n: int) -> float:
    """Seconds per task on the pool alone."""
    with ThreadPoolExecutor(2) as pool:
        start = time.perf_counter()
        for future in [pool.submit(no_op) for _ in range(n)]:
            future.result()
        return (time.perf_counter() - start) / n


def recorded(n: int, path: Path) -> float:
    """Seconds per task through the engine, with records."""
    with (
        JSONLinesRecordLogger(path) as records,
        Engine(ThreadPoolExecutor(2), record_logger=records) as engine,
    ):
        start = time.perf_counter()
        for future in [engine.submit(no_op) for _ in range(n)]:
            future.result()
        elapsed = (time.perf_counter() - start) / n
    if len(path.read_text().splitlines()) != n:
        raise RuntimeError(f"Not one record for each of {n} tasks in {path}.")
    return elapsed


for number, line in enumerate(sys.stdin):
    n = json.loads(line)["n"]
    with tempfile.TemporaryDirectory() as folder:
        answer = {"raw": raw(n), "engine": recorded(n, Path(folder) / f"{number}.jsonl")}
    print(json.dumps(answer), flush=True)
