"""A report is one well-formed file of bounded size that asks for nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from taps.errors import RunError
from taps.report import read_run, write_html
from taps.report.html import render_html

MakeRun = Callable[..., Path]
MakeTask = Callable[..., dict[str, Any]]
VOID = {"meta", "br", "rect", "line"}


class Document(HTMLParser):
    """Checks nesting, and collects text by tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.rectangles = 0
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.rectangles += tag == "rect"
        if tag not in VOID - {"rect"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text.setdefault(self.open[-1], []).append(data)


@pytest.fixture
def pair(make_run: MakeRun, task: MakeTask) -> list[Path]:
    value = [task("gemm", "a", 1, 5, nbytes=(5_000_000, 0, 0, 0)), task("potrf", "b", 0, 1)]
    proxy = [task("gemm", "a", 1, 2, nbytes=(500, 0, 4_000_000, 0)), task("potrf", "b", 0, 1)]
    return [
        make_run("value", value, makespan_s=6.0),
        make_run("proxy", proxy, makespan_s=2.0, transformer="proxystore"),
    ]


def test_a_report_says_what_happened(pair: list[Path]) -> None:
    text = Document(render_html([read_run(path) for path in pair])).text

    assert text["h2"] == ["cholesky"]
    assert text["span"].count("verified") == 2
    assert {"1. by value", "6 s", "2. by proxy", "2 s"} <= set(text["div"])
    assert "3.00x the first" in text["dd"]
    assert {"5 MB", "4 MB"} <= set(text["dd"])
    assert "gemm: 4 s" in text["title"]
    assert {"gemm", "potrf"} <= set(text["td"])


def test_runs_and_workers_are_counted(pair: list[Path], make_run: MakeRun, task: MakeTask) -> None:
    assert "2 runs, 2 verified" in render_html([read_run(path) for path in pair])
    html = render_html([read_run(make_run("one", [task("gemm", "a", 0, 1)]))])
    assert "1 run, 1 verified" in html
    assert "10 s, 1 worker<" in html
    assert ", 2 workers<" in render_html([read_run(pair[0])])


def test_a_report_asks_for_nothing_else(pair: list[Path]) -> None:
    html = render_html([read_run(path) for path in pair])

    outside = html.replace("http://www.w3.org/2000/svg", "")
    assert re.search(r"https?:|<script|<link|<img|@import|url\(|src=", outside) is None


def test_a_wrong_result_and_failed_tasks_are_seen(make_run: MakeRun, task: MakeTask) -> None:
    tasks = [task("gemm", "a", 0, 1, success=False)]
    run = read_run(make_run("wrong", tasks, verified=False, detail="residual 0.1"))

    text = Document(render_html([run])).text

    assert "not verified" in text["span"]
    assert "residual 0.1" in text["p"]
    assert "1, 1 failed" in text["dd"]
    assert "gemm: 1 s, failed" in text["title"]


def test_a_run_that_failed_has_no_speed(make_run: MakeRun, task: MakeTask) -> None:
    runs = [
        read_run(make_run("good", [task("gemm", "a", 0, 1)])),
        read_run(make_run("failed", [task("gemm", "a", 0, 30)], makespan_s=0.0, verified=False)),
    ]

    text = Document(render_html(runs)).text

    assert "failed" in text["div"]
    assert not any("the first" in fact for fact in text["dd"])


def test_names_from_records_are_text_not_markup(make_run: MakeRun, task: MakeTask) -> None:
    run = read_run(make_run("odd", [task('<lambda> & "co"', "<a>", 0, 1)], detail="<b>"))

    html = render_html([run])

    assert "<lambda>" not in html
    assert '<lambda> & "co"' in Document(html).text["td"]


@pytest.mark.slow
def test_thousands_of_tasks_give_a_bounded_chart(make_run: MakeRun, task: MakeTask) -> None:
    tasks = [
        task(f"t{index % 3}", f"worker{index % 4}", index / 5000, (index + 1) / 5000)
        for index in range(20_000)
    ]

    document = Document(render_html([read_run(make_run("many", tasks, makespan_s=4.0))]))

    assert 1000 < document.rectangles < 4 * 1500
    assert any(title.endswith("tasks, the longest: t0: 200 us") for title in document.text["title"])


def test_the_most_lanes_are_bounded_and_the_rest_named(make_run: MakeRun, task: MakeTask) -> None:
    tasks = [task("t", f"worker{index:03}", 0, 1) for index in range(100)]

    document = Document(render_html([read_run(make_run("wide", tasks))]))

    assert "and 36 more workers" in document.text["text"]


def test_a_run_without_tasks_is_drawn(make_run: MakeRun) -> None:
    Document(render_html([read_run(make_run("empty", makespan_s=0.0))]))


def test_a_report_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one run"):
        render_html([])


def test_writing_makes_directories_and_gives_the_path(pair: list[Path], tmp_path: Path) -> None:
    target = write_html([read_run(path) for path in pair], tmp_path / "deep" / "report.html")

    assert target == tmp_path / "deep" / "report.html"
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_report_that_cannot_be_written_is_an_error(pair: list[Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="Name another file"):
        write_html([read_run(path) for path in pair], tmp_path)
