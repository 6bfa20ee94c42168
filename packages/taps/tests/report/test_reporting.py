"""`taps report` draws what can be read, and names what cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from taps.cli import main

MakeRun = Callable[..., Path]


def test_an_unusable_run_is_named_and_the_others_are_reported(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, killed = make_run("good"), make_run("killed")
    (killed / "result.json").unlink()
    target = tmp_path / "report.html"

    assert main(["report", str(killed), str(good), "-o", str(target)]) == 0

    output = capsys.readouterr()
    assert "killed" in output.err
    assert "good" not in output.err
    assert "good" in target.read_text()


def test_a_torn_record_is_noted(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run("torn", verified=False, interrupted=True)
    (run / "tasks.jsonl").write_text("{")
    assert main(["report", str(run), "-o", str(tmp_path / "report.html")]) == 0
    assert "is torn" in capsys.readouterr().err


def test_no_usable_run_is_a_failure_without_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "report.html"
    assert main(["report", str(tmp_path), "-o", str(target)]) == 1
    assert "no run to report" in capsys.readouterr().err
    assert not target.exists()
