"""One line of JSON per finished task."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from taps.engine._task import TaskInfo
from taps.engine._worker import Execution, Failure

__all__ = ["JSONLinesRecordLogger", "RecordLogger", "task_record"]


@runtime_checkable
class RecordLogger(Protocol):
    """Keeps the records of tasks. Called from several threads."""

    def log(self, record: dict[str, Any]) -> None:
        """Keep one record, of plain values only."""
        ...

    def close(self) -> None:
        """Release what the logger holds. Idempotent."""
        ...


class JSONLinesRecordLogger:
    """Appends each record to a file as one line, with one unbuffered write.

    What was logged survives the death of this process. Costs some 10 us a record.
    Records of several threads never mix.

    Args:
        path: Created if absent, readable by everyone as the umask allows.

    Raises:
        OSError: The file cannot be opened; or, from `log`, written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        self._descriptor: int | None = os.open(self.path, flags, 0o666)
        self._encode = json.JSONEncoder(separators=(",", ":")).encode

    def log(self, record: dict[str, Any]) -> None:
        """Append one record. After `close`, does nothing: late tasks may still end."""
        if self._descriptor is None:
            return
        line = self._encode(record).encode() + b"\n"
        written = os.write(self._descriptor, line)
        if written != len(line):
            raise OSError(f"Only {written} of {len(line)} bytes fit into {self.path}.")

    def close(self) -> None:
        """Close the file. Idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def task_record(
    info: TaskInfo, execution: Execution | None, failure: Failure | None
) -> dict[str, Any]:
    """The record of a finished task.

    Times are seconds since the epoch, durations (``*_s``) seconds by the
    monotonic clock of the host that measured them.
    """
    return {
        "task_id": info.task_id,
        "name": info.name,
        "parent_task_ids": info.parent_task_ids,
        "attempt": info.attempt,
        "submit_time": info.submit_time,
        "dispatch_time": info.dispatch_time,
        "received_time": info.received_time,
        "elapsed_s": info.elapsed_s,
        "prepare_s": info.prepare_s,
        "success": info.success,
        "exception": _exception_record(failure) if failure else None,
        "argument_bytes": info.argument_bytes,
        "result_bytes": info.result_bytes,
        "input_transforms": info.input_transforms,
        "input_transform_bytes": info.input_transform_bytes,
        "result_transforms": info.result_transforms,
        "result_transform_bytes": info.result_transform_bytes,
        "execution": _execution_record(execution) if execution else None,
    }


def _exception_record(failure: Failure) -> dict[str, str]:
    error = failure.error
    return {
        "type": type(error).__name__,
        "message": str(error),
        "traceback": failure.traceback,
    }


def _execution_record(execution: Execution) -> dict[str, Any]:
    start = execution.start_time
    unpacked, ready, done, transformed, end = execution.marks
    return {
        "hostname": execution.hostname,
        "pid": execution.pid,
        "worker": f"{execution.hostname}/{execution.pid}/{execution.worker}",
        "execution_start_time": start,
        "input_transform_start_time": start + unpacked,
        "input_transform_end_time": start + ready,
        "task_start_time": start + ready,
        "task_end_time": start + done,
        "result_transform_start_time": start + done,
        "result_transform_end_time": start + transformed,
        "execution_end_time": start + end,
        "input_transform_s": ready - unpacked,
        "task_s": done - ready,
        "result_transform_s": transformed - done,
    }
