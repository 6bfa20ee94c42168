"""The engine: submits tasks to an executor, follows their dependencies and records them.

with Engine(ThreadPoolExecutor()) as engine:
    total = engine.submit(add, engine.submit(load, 1), engine.submit(load, 2))
    print(total.result())
"""

from __future__ import annotations

from taps.engine._contracts import Filter, Measured, Terminable, Transformer
from taps.engine._engine import Engine
from taps.engine._future import TaskFuture, as_completed, wait
from taps.engine._records import JSONLinesRecordLogger, RecordLogger
from taps.engine._task import Task, TaskInfo, task

__all__ = [
    "Engine",
    "Filter",
    "JSONLinesRecordLogger",
    "Measured",
    "RecordLogger",
    "Task",
    "TaskFuture",
    "TaskInfo",
    "Terminable",
    "Transformer",
    "as_completed",
    "task",
    "wait",
]
