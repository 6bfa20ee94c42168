"""Two runs of one problem are compared; runs of two problems are not."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taps.errors import RunError
from taps.report import compare

MakeRun = Callable[..., Path]
MakeTask = Callable[..., dict[str, Any]]


def test_ratios_are_of_the_second_to_the_first(make_run: MakeRun, task: MakeTask) -> None:
    first = make_run("first", [task("gemm", "a", 0, 4, nbytes=(1000, 0, 0, 0))], makespan_s=8.0)
    second = make_run("second", [task("gemm", "a", 0, 2, nbytes=(250, 0, 0, 0))], makespan_s=2.0)
    out = io.StringIO()

    code = compare(first, second, out)

    rows = {
        line.split("\u2502")[1].strip(): line
        for line in out.getvalue().splitlines()
        if "\u2502" in line
    }
    assert code == 0
    assert "8 s" in rows["makespan"]
    assert "0.25x" in rows["makespan"]
    assert "0.25x" in rows["moved by value"]
    assert "0.50x" in rows["worker time in tasks"]


def test_a_torn_record_is_noted(make_run: MakeRun) -> None:
    first, second = make_run("first"), make_run("second", verified=False, interrupted=True)
    (second / "tasks.jsonl").write_text("{")
    out = io.StringIO()

    compare(first, second, out)

    assert "is torn" in " ".join(out.getvalue().split())


def test_an_unverified_result_gives_exit_code_one_and_its_detail(make_run: MakeRun) -> None:
    first = make_run("first")
    second = make_run("second", verified=False, detail="residual [nan]")
    out = io.StringIO()

    assert compare(first, second, out) == 1
    assert "residual [nan]" in out.getvalue().replace("\n", " ")


def test_different_problems_are_refused(make_run: MakeRun) -> None:
    out = io.StringIO()

    code = compare(make_run("first", size=8), make_run("second", size=16), out)

    assert code == 2
    assert "matrix_size=8" in out.getvalue()
    assert "matrix_size=16" in out.getvalue()
    assert "makespan" not in out.getvalue()


def test_different_problems_are_compared_on_demand(make_run: MakeRun) -> None:
    out = io.StringIO()

    code = compare(make_run("first", size=8), make_run("second", size=16), out, force=True)

    assert code == 0
    assert "makespan" in out.getvalue()


def test_a_run_that_cannot_be_read_is_an_error(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="absent"):
        compare(make_run("first"), tmp_path / "absent", io.StringIO())
