"""Reading runs, comparing two of them, and drawing many."""

from __future__ import annotations

from taps.report.analysis import group_by_problem
from taps.report.compare import compare
from taps.report.html import write_html
from taps.report.runs import Run, TaskRecord, read_run

__all__ = ["Run", "TaskRecord", "compare", "group_by_problem", "read_run", "write_html"]
