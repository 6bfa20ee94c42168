from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_PROGRAMS = Path(__file__).parents[2] / "miniatures"


def _figures(name: str, folder: Path, *options: str) -> dict[str, Any]:
    """What a miniature of a few kilobytes measures; it verifies its results."""
    out = folder / "figures.json"
    command = [sys.executable, "-I", _PROGRAMS / f"{name}.py", "--tiny", "--rounds", "1"]
    done = subprocess.run(
        [*command, "--out", out, *options], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text("utf-8"))


@pytest.mark.slow
def test_genomes_gives_the_right_result_by_value_by_proxy_and_by_futures(tmp_path: Path) -> None:
    figures = _figures("genomes", tmp_path, "--startup", "0")

    assert list(figures["makespans_s"]) == ["by value", "by proxy", "futures"]
    assert {len(run["spans"]) for run in figures["shown"]} == {8}


@pytest.mark.slow
def test_tasks_of_genomes_start_before_their_inputs_exist_with_futures_only(tmp_path: Path) -> None:
    figures = _figures("genomes", tmp_path, "--startup", "0.1")

    started_early = {run["way"]: _starts_early(run) for run in figures["shown"]}
    assert started_early == {"by value": False, "by proxy": False, "futures": True}


@pytest.mark.slow
def test_words_are_counted_right_in_each_way_and_owners_leave_nothing(tmp_path: Path) -> None:
    figures = _figures("wordcount", tmp_path)

    left = {run["way"]: run["left_stored_nbytes"] > 0 for run in figures["shown"]}
    assert left == {"by value": False, "by proxy": True, "owned": False}


@pytest.mark.slow
def test_inference_on_streams_starts_once_and_gives_the_right_result(tmp_path: Path) -> None:
    figures = _figures("deepdrive", tmp_path, "--startup", "0.1")

    used = {
        run["way"]: len({span["pid"] for span in run["spans"] if span["stage"] == "inference"})
        for run in figures["shown"]
    }
    assert list(used) == ["by value", "streams"]
    assert used["streams"] == 1


@pytest.mark.parametrize(
    ("name", "pattern"), [("genomes", "futures"), ("deepdrive", "streams"), ("wordcount", "owned")]
)
@pytest.mark.slow
def test_help_says_what_each_way_is(name: str, pattern: str) -> None:
    command = [sys.executable, "-I", _PROGRAMS / f"{name}.py", "--help"]

    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    assert [way for way in ("by value", pattern) if f"- {way}:" not in said] == []


def _starts_early(run: dict[str, Any]) -> bool:
    ended = [span["ended"] for span in run["spans"] if span["stage"] == "individuals"]
    return all(span["begun"] < max(ended) for span in run["spans"] if span["stage"] == "merge")
