"""Fixtures of the tests of the engine and of runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taps.engine import Engine, JSONLinesRecordLogger
from taps.executors.processes import ProcessPool

DEADLINE_S = 30.0


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return tmp_path / "tasks.jsonl"


@pytest.fixture
def read_records(records: Path) -> Callable[[], list[dict[str, Any]]]:
    return lambda: [json.loads(line) for line in records.read_text().splitlines()]


@pytest.fixture
def processes(records: Path) -> Iterator[Engine]:
    """An engine on two forked processes."""
    executor = ProcessPool(2, "fork")
    with Engine(executor, record_logger=JSONLinesRecordLogger(records)) as engine:
        yield engine


@pytest.fixture
def taps(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in a fresh process, in an empty directory."""

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "taps", *arguments],
            cwd=tmp_path,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    return run


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Waits until something is true of another process, which can tell us no other way."""

    def wait(is_true: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not is_true():
            assert time.monotonic() < deadline, "it never came true"
            threading.Event().wait(0.01)

    return wait


@pytest.fixture
def is_alive() -> Callable[[int], bool]:
    def alive(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        state = Path(f"/proc/{pid}/stat")
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"

    return alive
