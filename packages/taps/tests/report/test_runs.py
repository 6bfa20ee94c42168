"""Runs are read whole, or refused with a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taps.errors import RunError
from taps.report import read_run

MakeRun = Callable[..., Path]
MakeTask = Callable[..., dict[str, Any]]


def test_a_run_is_read_whole(make_run: MakeRun, task: MakeTask) -> None:
    tasks = [
        task("gemm", "node1/1/Main", 1, 2, nbytes=(100, 20, 3, 4)),
        task("syrk", "node1/2/Main", 2, 4, success=False),
    ]

    run = read_run(make_run("one", tasks, transformer="proxystore"))

    assert run.problem == "cholesky (matrix_size=8)"
    assert run.way == "process-pool, by proxy"
    assert run.verified
    assert [task.name for task in run.tasks] == ["gemm", "syrk"]
    assert (run.by_value_nbytes, run.by_reference_nbytes, run.failed) == (120, 7, 1)


def test_a_run_without_records_still_says_what_it_did(make_run: MakeRun) -> None:
    directory = make_run("one", failed=1, bytes_by_value=80, bytes_by_reference=7)
    (directory / "config.toml").write_text(
        '[app]\nname = "cholesky"\n[engine]\ntask_record_file_name = "none"\n'
    )
    (directory / "tasks.jsonl").unlink()

    run = read_run(directory)
    assert run.tasks == ()
    assert (run.failed, run.by_value_nbytes, run.by_reference_nbytes) == (1, 80, 7)


def test_a_run_that_failed_says_why(make_run: MakeRun) -> None:
    run = read_run(make_run("one", verified=False, error="ValueError: no", detail="It failed."))
    assert run.detail == "ValueError: no"


@pytest.mark.parametrize("end", [{"error": "ValueError: no"}, {"interrupted": True}])
def test_a_run_cut_short_before_its_first_task_has_no_tasks(
    make_run: MakeRun, end: dict[str, Any]
) -> None:
    directory = make_run("one", verified=False, **end)
    (directory / "tasks.jsonl").unlink()
    assert read_run(directory).tasks == ()


def test_records_that_are_lost_are_named(make_run: MakeRun) -> None:
    directory = make_run("one")
    (directory / "tasks.jsonl").unlink()
    with pytest.raises(RunError, match=r"tasks\.jsonl cannot be read"):
        read_run(directory)


@pytest.mark.parametrize("end", [{"error": "OSError: no space"}, {"interrupted": True}])
def test_a_torn_last_record_of_a_run_cut_short_is_left_out_with_a_note(
    make_run: MakeRun, task: MakeTask, end: dict[str, Any]
) -> None:
    directory = make_run("one", [task("gemm", "a", 0, 1)], verified=False, **end)
    with (directory / "tasks.jsonl").open("a") as records:
        records.write('{"name": "gemm", "succ')

    run = read_run(directory)

    assert len(run.tasks) == 1
    assert "torn" in run.note
    assert str(directory) in run.note


def test_files_of_another_shape_are_refused(make_run: MakeRun) -> None:
    directory = make_run("one")
    (directory / "config.toml").write_text('app = "x"\n[engine]\ntask_record_file_name = "none"\n')
    with pytest.raises(RunError, match="not what this version writes"):
        read_run(directory)


def test_a_task_that_never_ran_is_kept(make_run: MakeRun, task: MakeTask) -> None:
    line = task("gemm", "", 0, 1, success=False) | {"execution": None, "dispatch_time": None}

    (record,) = read_run(make_run("one", [line])).tasks

    assert record.execution is None
    assert record.dispatch == record.submit


def test_an_absent_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"absent'?: there is no such directory"):
        read_run(tmp_path / "absent")


def test_a_directory_that_is_not_a_run_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"it has no config\.toml"):
        read_run(tmp_path)


def test_a_run_that_did_not_end_says_so(make_run: MakeRun) -> None:
    directory = make_run("one")
    (directory / "result.json").unlink()

    with pytest.raises(RunError, match=r"no result\.json\. The run was killed or still goes on"):
        read_run(directory)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("config.toml", b"[app", r"config\.toml cannot be read"),
        ("config.toml", b"\xff", r"config\.toml cannot be read"),
        ("result.json", b"{", r"result\.json cannot be read"),
        ("result.json", b"[]", r"result\.json cannot be read \(it is not a JSON object"),
        ("result.json", b"{}", "not what this version writes"),
        ("tasks.jsonl", b'{"name": "gemm', r"tasks\.jsonl cannot be read \(line 1"),
        ("tasks.jsonl", b'{"name": "gemm"}\n', r"line 1: KeyError"),
        ("tasks.jsonl", b"[]\n", r"line 1: TypeError"),
        ("tasks.jsonl", b"\xff\n", r"tasks\.jsonl cannot be read"),
    ],
)
def test_a_damaged_file_is_named(
    make_run: MakeRun, name: str, content: bytes, expected: str
) -> None:
    directory = make_run("one")
    (directory / name).write_bytes(content)

    with pytest.raises(RunError, match=expected):
        read_run(directory)
