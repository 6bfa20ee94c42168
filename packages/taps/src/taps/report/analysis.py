"""What the records of a run say: who was busy when, with what, and for how long."""

from __future__ import annotations

import dataclasses
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from taps.report.runs import Execution, Run, TaskRecord

__all__ = ["NameSummary", "TimeSplit", "group_by_problem", "lanes", "summarize_names", "time_split"]


@dataclasses.dataclass(frozen=True, slots=True)
class TimeSplit:
    """Where the time of the workers went, in worker-seconds."""

    task_s: float = 0.0
    """In the functions, with the resolving of proxies that tasks do on first use."""
    input_transform_s: float = 0.0
    result_transform_s: float = 0.0
    transit_s: float = 0.0
    """Unpickling and pickling in the worker, and free workers while tasks or results were on
    their way: in queues, pipes and the client."""
    idle_s: float = 0.0
    """Workers without work anywhere: waiting for dependencies, or for the app to submit."""


@dataclasses.dataclass(frozen=True, slots=True)
class NameSummary:
    """The tasks of one name; times in seconds, inside the task's function."""

    name: str
    count: int
    failed: int
    total_s: float
    mean_s: float
    p50_s: float
    p95_s: float
    mean_transit_s: float
    """From dispatch to result, less the time in the worker."""
    by_value_nbytes: int
    by_reference_nbytes: int


def lanes(run: Run) -> dict[str, list[tuple[TaskRecord, Execution]]]:
    """The executed tasks of each worker in the order they began; workers sorted by name."""
    workers: dict[str, list[tuple[TaskRecord, Execution]]] = defaultdict(list)
    for task in run.tasks:
        if task.execution is not None:
            workers[task.execution.worker].append((task, task.execution))
    return {
        worker: sorted(workers[worker], key=lambda executed: executed[1].start)
        for worker in sorted(workers)
    }


def time_split(run: Run) -> TimeSplit:
    """Split workers x makespan. The parts add up to it, unless clocks of hosts disagree."""
    executions = [task.execution for task in run.tasks if task.execution]
    task_s = sum(execution.task_s for execution in executions)
    inputs = sum(execution.input_transform_s for execution in executions)
    results = sum(execution.result_transform_s for execution in executions)
    busy = sum(execution.end - execution.start for execution in executions)
    workers = len({execution.worker for execution in executions})
    waiting = _free_while_in_transit(run.tasks, workers)
    transit = waiting + max(0.0, busy - task_s - inputs - results)
    rest = workers * run.makespan_s - busy - waiting
    return TimeSplit(task_s, inputs, results, transit, max(0.0, rest))


def _free_while_in_transit(tasks: Iterable[TaskRecord], workers: int) -> float:
    """Worker-seconds free while a dispatched task had not begun, or a result not arrived."""
    running, in_transit = 0, 0
    total, previous = 0.0, 0.0
    for moment, starts, moves in sorted(_events(tasks)):
        if in_transit > 0:
            total += max(0, min(workers - running, in_transit)) * (moment - previous)
        running, in_transit, previous = running + starts, in_transit + moves, moment
    return total


def _events(tasks: Iterable[TaskRecord]) -> Iterable[tuple[float, int, int]]:
    for task in tasks:
        if task.execution is not None:
            yield task.dispatch, 0, 1
            yield max(task.dispatch, task.execution.start), 1, -1
            yield task.execution.end, -1, 1
            yield max(task.received, task.execution.end), 0, -1


def summarize_names(run: Run) -> list[NameSummary]:
    """One summary per task name, the one with the most time first."""
    named: dict[str, list[TaskRecord]] = defaultdict(list)
    for task in run.tasks:
        named[task.name].append(task)
    summaries = [_summarize(name, tasks) for name, tasks in named.items()]
    return sorted(summaries, key=lambda summary: (-summary.total_s, summary.name))


def _summarize(name: str, tasks: Sequence[TaskRecord]) -> NameSummary:
    durations = sorted(task.execution.task_s for task in tasks if task.execution) or [0.0]
    transits = [
        task.received - task.dispatch - (task.execution.end - task.execution.start)
        for task in tasks
        if task.execution
    ]
    return NameSummary(
        name=name,
        count=len(tasks),
        failed=sum(not task.success for task in tasks),
        total_s=sum(durations),
        mean_s=statistics.fmean(durations),
        p50_s=_quantile(durations, 0.5),
        p95_s=_quantile(durations, 0.95),
        mean_transit_s=statistics.fmean(transits or [0.0]),
        by_value_nbytes=sum(task.by_value_nbytes for task in tasks),
        by_reference_nbytes=sum(task.by_reference_nbytes for task in tasks),
    )


def _quantile(ordered: Sequence[float], fraction: float) -> float:
    # The nearest rank: always a duration that was measured.
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


def group_by_problem(runs: Iterable[Run]) -> Mapping[str, list[Run]]:
    """Runs of the same application with the same parameters, in the order first seen."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.problem, []).append(run)
    return groups
