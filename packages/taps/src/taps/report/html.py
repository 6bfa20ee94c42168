"""Many runs in one HTML file that needs nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from taps.errors import RunError
from taps.report._svg import Bar, Span, gantt, stacked_bars
from taps.report.analysis import (
    NameSummary,
    group_by_problem,
    lanes,
    summarize_names,
    time_split,
)
from taps.report.runs import Execution, Run, TaskRecord
from taps.report.units import bytes_text, ratio_text, seconds_text

__all__ = ["render_html", "write_html"]

_SPLIT = {
    "task": ("s-task", "running tasks", "task_s"),
    "input": ("s-input", "resolving inputs", "input_transform_s"),
    "result": ("s-result", "storing results", "result_transform_s"),
    "transit": ("s-transit", "moving data", "transit_s"),
    "idle": ("s-idle", "idle", "idle_s"),
}
_BYTES = {
    "value": ("b-value", "through the executor"),
    "reference": ("b-reference", "into the store"),
}
_COLOURS = 8
_FAILED = "\0failed"  # Not the name of a task.


def write_html(runs: Sequence[Run], path: str | os.PathLike[str]) -> Path:
    """Write a report of ``runs``, replacing the file at ``path``.

    Returns:
        The absolute path.

    Raises:
        ValueError: There are no runs.
        RunError: The file cannot be written.
    """
    target, text = Path(path).absolute(), render_html(runs)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    except OSError as exc:
        advice = "Name another file to write the report to."
        raise RunError(f"report {str(target)!r}", str(exc), advice) from exc
    return target


def render_html(runs: Sequence[Run]) -> str:
    """The report as text: no scripts, and no references to anything outside.

    Raises:
        ValueError: There are no runs.
    """
    if not runs:
        raise ValueError("A report needs at least one run, and none was given.")
    style = files("taps.report").joinpath("report.css").read_text(encoding="utf-8")
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(min(run.start_time for run in runs)))
    hosts = ", ".join(sorted({run.hostname for run in runs}))
    verified = sum(run.verified for run in runs)
    sections = "".join(
        _section(problem, group) for problem, group in group_by_problem(runs).items()
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>TaPS report</title><style>{style}</style></head><body><main>"
        f"<h1>Task Performance Suite</h1>"
        f'<p class="note">{_counted(len(runs), "run")}, {verified} verified, from {began} '
        f"on {escape(hosts)}</p>{sections}</main></body></html>\n"
    )


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _section(problem: str, runs: Sequence[Run]) -> str:
    first = runs[0]
    labelled = {f"{number}. {_short(run)}": run for number, run in enumerate(runs, start=1)}
    kinds = _name_classes(runs)
    end = max(map(_last_moment, runs)) or 1.0
    cards = "".join(_card(label, run, first) for label, run in labelled.items())
    return (
        f'<h2>{escape(first.app)}</h2><p class="note">{escape(_options(problem, first))}</p>'
        f'<div class="cards">{cards}</div>{_time_figure(labelled)}{_bytes_figure(labelled)}'
        f"{''.join(_run_figure(label, run, kinds, end) for label, run in labelled.items())}"
    )


def _short(run: Run) -> str:
    way = run.way.partition(", ")[2]
    return way if len(way) <= 20 else way[:19] + "\u2026"


def _last_moment(run: Run) -> float:
    """Seconds from the beginning of a run to the last it did; a failed one has no makespan."""
    ends = (task.execution.end - run.start_time for task in run.tasks if task.execution)
    return max([run.makespan_s, *ends])


def _options(problem: str, run: Run) -> str:
    return problem.removeprefix(run.app).strip(" ()") or "default parameters"


def _card(label: str, run: Run, first: Run) -> str:
    badge = ("good", "verified") if run.verified else ("bad", "not verified")
    facts = {
        "executor": escape(run.executor),
        "tasks": f"{run.n_tasks:,}" + (f", {run.failed:,} failed" if run.failed else ""),
        "via executor": bytes_text(run.by_value_nbytes),
        "into store": bytes_text(run.by_reference_nbytes),
    }
    if run is not first and run.makespan_s and first.makespan_s:
        facts["speed"] = f"{ratio_text(first.makespan_s / run.makespan_s)} the first"
    rows = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts.items())
    makespan = seconds_text(run.makespan_s) if run.makespan_s else "failed"
    return (
        f'<div class="card"><span class="badge {badge[0]}">{badge[1]}</span>'
        f'<div class="way">{escape(label)}</div><div class="makespan">{makespan}</div>'
        f'<dl>{rows}</dl><p class="detail">{escape(run.detail)}<br>{escape(run.path.name)}</p>'
        f"</div>"
    )


def _time_figure(labelled: Mapping[str, Run]) -> str:
    bars = []
    for label, run in labelled.items():
        split = time_split(run)
        parts = {kind: getattr(split, field) for kind, (_, _, field) in _SPLIT.items()}
        titles = {kind: f"{_SPLIT[kind][1]}: {seconds_text(s)}" for kind, s in parts.items()}
        total = f"{seconds_text(sum(parts.values()))}, {_counted(len(lanes(run)), 'worker')}"
        bars.append(Bar(label, parts, total, titles))
    classes = {kind: css for kind, (css, _, _) in _SPLIT.items()}
    legend = _legend((css, name) for css, name, _ in _SPLIT.values())
    return _figure("Where the time of the workers went", legend, stacked_bars(bars, classes))


def _bytes_figure(labelled: Mapping[str, Run]) -> str:
    bars = []
    for label, run in labelled.items():
        parts = {
            "value": float(run.by_value_nbytes),
            "reference": float(run.by_reference_nbytes),
        }
        titles = {kind: f"{_BYTES[kind][1]}: {bytes_text(n)}" for kind, n in parts.items()}
        bars.append(Bar(label, parts, bytes_text(sum(parts.values())), titles))
    classes = {kind: css for kind, (css, _) in _BYTES.items()}
    return _figure("Bytes moved", _legend(_BYTES.values()), stacked_bars(bars, classes))


def _run_figure(label: str, run: Run, kinds: Mapping[str, str], end: float) -> str:
    spans = {
        f"worker {index}": [_span(task, execution, run.start_time) for task, execution in tasks]
        for index, tasks in enumerate(lanes(run).values(), start=1)
    }
    summaries = summarize_names(run)
    shown = [(kinds[summary.name], summary.name) for summary in summaries[:_COLOURS]]
    if run.failed:
        shown.append(("k-failed", "failed"))
    chart = gantt(spans, {**kinds, _FAILED: "k-failed"}, end)
    content = chart + _name_table(summaries)
    return _figure(f"Workers over time: {label}", _legend(shown), content)


def _span(task: TaskRecord, execution: Execution, origin: float) -> Span:
    title = f"{task.name}: {seconds_text(execution.end - execution.start)}"
    if not task.success:
        title += ", failed"
    kind = task.name if task.success else _FAILED
    return Span(execution.start - origin, execution.end - origin, kind, title)


def _name_classes(runs: Iterable[Run]) -> dict[str, str]:
    """A colour for each task name, the same in all runs, distinct for the longest ones."""
    totals: dict[str, float] = {}
    for run in runs:
        for summary in summarize_names(run):
            totals[summary.name] = totals.get(summary.name, 0.0) + summary.total_s
    ranked = sorted(totals, key=lambda name: (-totals[name], name))
    return {
        name: f"k-{index}" if index < _COLOURS else "k-other" for index, name in enumerate(ranked)
    }


_COLUMNS: tuple[tuple[str, Callable[[NameSummary], str]], ...] = (
    ("task", lambda row: escape(row.name)),
    ("count", lambda row: f"{row.count:,}"),
    ("failed", lambda row: f"{row.failed:,}"),
    ("total", lambda row: seconds_text(row.total_s)),
    ("mean", lambda row: seconds_text(row.mean_s)),
    ("p50", lambda row: seconds_text(row.p50_s)),
    ("p95", lambda row: seconds_text(row.p95_s)),
    ("queue and transfer", lambda row: seconds_text(row.mean_transit_s)),
    ("by value", lambda row: bytes_text(row.by_value_nbytes)),
    ("by reference", lambda row: bytes_text(row.by_reference_nbytes)),
)


def _name_table(summaries: Iterable[NameSummary]) -> str:
    head = "".join(f"<th>{name}</th>" for name, _ in _COLUMNS)
    body = "".join(
        f"<tr>{''.join(f'<td>{text(row)}</td>' for _, text in _COLUMNS)}</tr>" for row in summaries
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _figure(title: str, legend: str, content: str) -> str:
    return f"<figure><h3>{escape(title)}</h3>{legend}{content}</figure>"


def _legend(entries: Iterable[tuple[str, str]]) -> str:
    items = "".join(
        f'<span><svg viewBox="0 0 12 12"><rect class="{css}" width="12" height="12" rx="3"/></svg>'
        f"{escape(name)}</span>"
        for css, name in entries
    )
    return f'<div class="legend">{items}</div>'
