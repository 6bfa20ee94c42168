"""The demonstration runs, says what it found, and does not hide a wrong result."""

from __future__ import annotations

import dataclasses
import io
import re
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

pytest.importorskip("scipy", reason="the demonstration runs the Cholesky application")

from taps import demo as demo_module
from taps.apps import _mapreduce as mapreduce
from taps.demo import demo
from taps.report import Run, read_run


def text_of(out: Path, *, expected: int) -> str:
    console = Console(file=io.StringIO(), width=120)
    assert demo(out, quick=True, console=console) == expected
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


@pytest.mark.slow
def test_both_applications_are_verified_both_ways(tmp_path: Path) -> None:
    out = tmp_path / "odd {name}"

    printed = text_of(out, expected=0)

    runs = [read_run(path) for path in out.iterdir() if path.is_dir()]
    assert {("mapreduce", "none"), ("mapreduce", "proxystore"), ("cholesky", "none"),
            ("cholesky", "proxystore")} == {(run.app, run.transformer) for run in runs}  # fmt: skip
    assert all(run.verified for run in runs)
    value, proxy = (
        next(run for run in runs if (run.app, run.transformer) == ("cholesky", way))
        for way in ("none", "proxystore")
    )
    assert proxy.by_value_nbytes < value.by_value_nbytes / 100
    assert proxy.by_reference_nbytes > 1e6
    assert f"Report: {out / 'report.html'}" in printed
    assert "mapreduce: " in printed
    assert "cholesky: " in printed
    assert (out / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_a_wrong_result_gives_exit_code_one_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = mapreduce.Counts(Counter(), 0, 0)
    monkeypatch.setattr(mapreduce, "_count_serially", lambda files: nothing)

    printed = text_of(tmp_path, expected=1)

    assert "NOT VERIFIED" in printed
    assert "mapreduce: no comparison, for a result is wrong or missing." in printed


@pytest.mark.slow
def test_without_room_in_shared_memory_proxies_go_through_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = dataclasses.replace(demo_module._QUICK, stored_nbytes=1 << 62)
    monkeypatch.setattr(demo_module, "_QUICK", full)
    monkeypatch.setattr(demo_module, "_SHARED_MEMORY", tmp_path)

    assert "proxies go through files" in text_of(tmp_path, expected=0)
    configs = [path.read_text() for path in tmp_path.glob("*_proxystore_*/config.toml")]
    assert len(configs) == 2
    assert all(f"{tmp_path}/objects-" in config for config in configs)
    assert not list(tmp_path.glob("objects-*/*"))


def made_run(way: str, makespan_s: float, *, verified: bool = True) -> Run:
    return Run(
        path=Path(), app="app", parameters={}, executor="process-pool", transformer=way,
        filter="none", verified=verified, detail="", makespan_s=makespan_s, start_time=0.0,
        hostname="host", n_tasks=0, failed=0, by_value_nbytes=0, by_reference_nbytes=0, tasks=(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "proxy", "expected"),
    [
        ((4.0, 5.0), (1.0, 2.0), "3.00x as fast by proxy"),
        ((1.0, 2.0), (4.0, 5.0), "no gain, it takes 3.00x as long by proxy"),
        ((1.0, 3.0), (2.0, 2.5), "no clear difference"),
        ((2.0, 3.0), (1.0, 2.5), "no clear difference"),
        ((1.0, 2.5), (2.0, 3.0), "no clear difference"),
        ((2.0,), (1.0,), "2.00x as fast by proxy.* may be chance"),
    ],
)
def test_a_gain_is_claimed_only_where_all_runs_agree(
    value: tuple[float, ...], proxy: tuple[float, ...], expected: str
) -> None:
    runs = [made_run("none", s) for s in value] + [made_run("proxystore", s) for s in proxy]

    assert re.search(expected, demo_module._verdict(runs))
