"""Run directories as `taps run` leaves them, made from a few numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tomli_w

START = 1_700_000_000.0


def task_line(
    name: str,
    worker: str,
    start: float,
    end: float,
    *,
    dispatch: float | None = None,
    received: float | None = None,
    success: bool = True,
    input_transform_s: float = 0.0,
    result_transform_s: float = 0.0,
    nbytes: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> dict[str, Any]:
    """One record; times in seconds from the start of the run."""
    argument, result, input_transform, result_transform = nbytes
    return {
        "task_id": f"{name}-{start}",
        "name": name,
        "parent_task_ids": [],
        "attempt": 1,
        "submit_time": START,
        "dispatch_time": START + (start if dispatch is None else dispatch),
        "received_time": START + (end if received is None else received),
        "success": success,
        "exception": None,
        "argument_bytes": argument,
        "result_bytes": result,
        "input_transform_bytes": input_transform,
        "result_transform_bytes": result_transform,
        "execution": {
            "worker": worker,
            "execution_start_time": START + start,
            "execution_end_time": START + end,
            "input_transform_s": input_transform_s,
            "task_s": end - start - input_transform_s - result_transform_s,
            "result_transform_s": result_transform_s,
        },
    }


def _total(tasks: Sequence[dict[str, Any]], *names: str) -> int:
    return sum(line[name] for line in tasks for name in names)


@pytest.fixture
def task() -> Callable[..., dict[str, Any]]:
    return task_line


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    def make(
        name: str,
        tasks: Sequence[dict[str, Any]] = (),
        *,
        size: int = 8,
        transformer: str | None = None,
        makespan_s: float = 10.0,
        **result: Any,
    ) -> Path:
        directory = tmp_path / name
        directory.mkdir()
        engine: dict[str, Any] = {"task_record_file_name": "tasks.jsonl"}
        config = {"app": {"name": "cholesky", "matrix_size": size}, "engine": engine}
        (directory / "config.toml").write_text(tomli_w.dumps(config))
        lines = (json.dumps(line) for line in tasks)
        (directory / "tasks.jsonl").write_text("".join(f"{line}\n" for line in lines))
        summary = {
            "app": "cholesky",
            "executor": "process-pool",
            "transformer": transformer,
            "filter": None,
            "verified": True,
            "detail": "residual 1e-16",
            "makespan_s": makespan_s,
            "start_time": START - 2.0,
            "phases_s": {"setup": 2.0, "run": makespan_s},
            "hostname": "node1",
            "error": None,
            "tasks": len(tasks),
            "failed": sum(not line["success"] for line in tasks),
            "bytes_by_value": _total(tasks, "argument_bytes", "result_bytes"),
            "bytes_by_reference": _total(tasks, "input_transform_bytes", "result_transform_bytes"),
        }
        (directory / "result.json").write_text(json.dumps(summary | result))
        return directory

    return make
