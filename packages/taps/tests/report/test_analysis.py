"""Every second of every worker is accounted for once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taps.report.analysis import group_by_problem, lanes, summarize_names, time_split
from taps.report.runs import Execution, Run, TaskRecord, read_run

MakeRun = Callable[..., Path]
MakeTask = Callable[..., dict[str, Any]]


def test_time_is_split_by_what_workers_did(make_run: MakeRun, task: MakeTask) -> None:
    # Worker a: moving 0-1, task 1-4; worker b: moving 0-2, task 2-3, then nothing to do.
    tasks = [
        task("gemm", "a", 1, 4, dispatch=0, input_transform_s=0.5, result_transform_s=0.25),
        task("gemm", "b", 2, 3, dispatch=0),
    ]

    split = time_split(read_run(make_run("one", tasks, makespan_s=4.0)))

    assert dataclasses.astuple(split) == pytest.approx((3.25, 0.5, 0.25, 3.0, 1.0))


def test_a_result_on_its_way_back_is_moving_data(make_run: MakeRun, task: MakeTask) -> None:
    split = time_split(
        read_run(make_run("one", [task("gemm", "a", 0, 1, received=3)], makespan_s=4.0))
    )

    assert (split.task_s, split.transit_s, split.idle_s) == pytest.approx((1, 2, 1))


def test_no_more_workers_move_data_than_there_are_tasks_on_their_way(
    make_run: MakeRun, task: MakeTask
) -> None:
    tasks = [task("a", "a", 0, 1), task("b", "b", 0, 1), task("c", "a", 3, 4, dispatch=1)]

    split = time_split(read_run(make_run("one", tasks, makespan_s=4.0)))

    assert (split.task_s, split.transit_s, split.idle_s) == pytest.approx((3, 2, 3))


TIMES = st.lists(st.floats(0, 100), min_size=4, max_size=4).map(sorted)


@pytest.mark.slow
@given(st.lists(TIMES, min_size=1, max_size=20))
def test_the_parts_add_up_to_workers_times_makespan(times: list[list[float]]) -> None:
    tasks = tuple(
        TaskRecord("t", True, 0.0, dispatch, received, 0, 0, Execution(
            f"worker{index}", start, end, 0.0, end - start, 0.0))
        for index, (dispatch, start, end, received) in enumerate(times)
    )  # fmt: skip
    run = Run(
        Path(), "app", {}, "serial", "none", "none", True, "", 100.0, 0.0, "host",
        len(tasks), 0, 0, 0, tasks,
    )  # fmt: skip

    assert sum(dataclasses.astuple(time_split(run))) == pytest.approx(100.0 * len(tasks))


def test_a_run_without_tasks_has_no_time_to_split(make_run: MakeRun) -> None:
    assert dataclasses.astuple(time_split(read_run(make_run("one")))) == (0, 0, 0, 0, 0)


def test_lanes_are_workers_in_order_of_time(make_run: MakeRun, task: MakeTask) -> None:
    tasks = [task("late", "b", 3, 4), task("early", "b", 1, 2), task("other", "a", 0, 1)]

    found = lanes(read_run(make_run("one", tasks)))

    assert {name: [task.name for task, _ in done] for name, done in found.items()} == {
        "a": ["other"],
        "b": ["early", "late"],
    }


def test_names_are_summarized_longest_first(make_run: MakeRun, task: MakeTask) -> None:
    tasks = [
        task("gemm", "a", index, index + length, dispatch=index - 1, nbytes=(1, 2, 3, 4))
        for index, length in ((0, 1), (2, 2), (5, 9))
    ]

    gemm, syrk = summarize_names(read_run(make_run("one", [task("syrk", "a", 20, 21), *tasks])))

    assert (gemm.name, gemm.count) == ("gemm", 3)
    assert gemm.total_s == pytest.approx(12)
    assert (gemm.mean_s, gemm.p50_s, gemm.p95_s) == pytest.approx((4, 2, 9))
    assert gemm.mean_transit_s == pytest.approx(1)
    assert (gemm.by_value_nbytes, gemm.by_reference_nbytes) == (9, 21)
    assert (syrk.name, syrk.count) == ("syrk", 1)


def test_runs_are_grouped_by_app_and_parameters(make_run: MakeRun) -> None:
    runs = [read_run(make_run(name, size=size)) for name, size in (("a", 8), ("b", 4), ("c", 8))]

    groups = group_by_problem(runs)

    assert [[run.path.name for run in group] for group in groups.values()] == [["a", "c"], ["b"]]
