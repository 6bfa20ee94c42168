"""Runs as they were left on disk."""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taps.errors import RunError

__all__ = ["Execution", "Run", "TaskRecord", "read_run"]

_ADVICE = "Name a directory that `taps run` wrote, such as one below runs/."
_WAYS = {"none": "by value", "proxystore": "by proxy"}
_PARTIAL = "The run was killed or still goes on; only runs that ended can be read."


@dataclasses.dataclass(frozen=True, slots=True)
class Execution:
    """What one task did on its worker: times in seconds since the epoch, durations ``_s``."""

    worker: str
    start: float
    end: float
    input_transform_s: float
    task_s: float
    result_transform_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class TaskRecord:
    """One finished task. Times are seconds since the epoch."""

    name: str
    success: bool
    submit: float
    dispatch: float
    received: float
    by_value_nbytes: int
    """Pickled bytes of arguments and result that went through the executor."""
    by_reference_nbytes: int
    """Serialized bytes that went into the store instead."""
    execution: Execution | None
    """`None` if the task never ran."""


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """One run that ended."""

    path: Path
    app: str
    parameters: Mapping[str, Any]
    """Options of the app, its name left out."""
    executor: str
    transformer: str
    filter: str
    verified: bool
    detail: str
    makespan_s: float
    """Of the application alone; 0 if it failed."""
    start_time: float
    """When the application began, seconds since the epoch."""
    hostname: str
    n_tasks: int
    failed: int
    """Tasks that failed or were cancelled."""
    by_value_nbytes: int
    """Bytes of arguments and results that went through the executor."""
    by_reference_nbytes: int
    """Bytes of arguments and results that went into the store."""
    tasks: tuple[TaskRecord, ...]
    """Empty if the run was told to keep no records, or failed before its first task."""
    note: str = ""
    """A sentence, if a part of the run could not be read."""

    @property
    def problem(self) -> str:
        """The app and its parameters; equal for runs that can be compared."""
        options = ", ".join(f"{name}={value}" for name, value in sorted(self.parameters.items()))
        return f"{self.app} ({options})" if options else self.app

    @property
    def way(self) -> str:
        """How it was run, for a reader."""
        condition = "" if self.filter == "none" else f" ({self.filter})"
        return f"{self.executor}, {self.passing}{condition}"

    @property
    def passing(self) -> str:
        """How objects were passed, for a reader."""
        return _WAYS.get(self.transformer, f"by {self.transformer}")


def read_run(path: str | os.PathLike[str]) -> Run:
    """Read a run directory; holds every task record in memory, some 0.5 KB each.

    Raises:
        RunError: It is not a run directory, the run did not end, or a file of it is damaged.
    """
    directory = Path(path)
    if not (directory / "config.toml").is_file():
        found = "it has no config.toml" if directory.is_dir() else "there is no such directory"
        raise RunError(f"run {str(path)!r}", found, _ADVICE)
    config = _toml(directory / "config.toml")
    result = _json(directory / "result.json")
    try:
        tasks, note = _task_records(directory, config, cut_short=_was_cut_short(result))
        return _run(directory, config, result, tasks, note)
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        found = f"its files are not what this version writes ({type(exc).__name__}: {exc})"
        raise RunError(f"run {str(path)!r}", found, "Run it again with this version.") from exc


def _run(
    directory: Path,
    config: Mapping[str, Any],
    result: Mapping[str, Any],
    tasks: tuple[TaskRecord, ...],
    note: str,
) -> Run:
    return Run(
        path=directory,
        app=result["app"],
        parameters={name: value for name, value in config["app"].items() if name != "name"},
        executor=result["executor"],
        transformer=result["transformer"] or "none",
        filter=result["filter"] or "none",
        verified=bool(result["verified"]),
        detail=result["error"] or result["detail"],
        makespan_s=float(result["makespan_s"]),
        start_time=result["start_time"] + result["phases_s"].get("setup", 0.0),
        hostname=result["hostname"],
        n_tasks=result["tasks"],
        failed=result["failed"],
        by_value_nbytes=result["bytes_by_value"],
        by_reference_nbytes=result["bytes_by_reference"],
        tasks=tasks,
        note=note,
    )


def _toml(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise _unreadable(path, str(exc)) from exc


def _json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        found = f"it has no {path.name}"
        raise RunError(f"run {str(path.parent)!r}", found, _PARTIAL) from exc
    except (OSError, ValueError) as exc:
        raise _unreadable(path, str(exc)) from exc
    if not isinstance(content, dict):
        raise _unreadable(path, "it is not a JSON object")
    return content


def _was_cut_short(result: Mapping[str, Any]) -> bool:
    return result.get("error") is not None or bool(result.get("interrupted"))


def _task_records(
    directory: Path, config: Mapping[str, Any], *, cut_short: bool
) -> tuple[tuple[TaskRecord, ...], str]:
    """The records, and a note if the last was torn, as the end of a run may leave it."""
    name = config["engine"]["task_record_file_name"]
    if name == "none":
        return (), ""  # The run was told to keep no records.
    path = directory / name
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError as exc:
        if cut_short:
            return (), ""  # It failed before its first task.
        raise _unreadable(path, str(exc)) from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise _unreadable(path, str(exc)) from exc
    note = ""
    if cut_short and lines and not lines[-1].endswith("\n"):
        del lines[-1]
        note = f"The last line of {path} is torn, since the run was cut short; it is left out."
    return tuple(_task_record(path, number, line) for number, line in enumerate(lines, 1)), note


def _task_record(path: Path, number: int, line: str) -> TaskRecord:
    try:
        record = json.loads(line)
        submit = record["submit_time"]
        return TaskRecord(
            name=record["name"],
            success=record["success"],
            submit=submit,
            dispatch=record["dispatch_time"] or submit,
            received=record["received_time"],
            by_value_nbytes=record["argument_bytes"] + record["result_bytes"],
            by_reference_nbytes=record["input_transform_bytes"] + record["result_transform_bytes"],
            execution=_execution(record["execution"]),
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise _unreadable(path, f"line {number}: {type(exc).__name__}: {exc}") from exc


def _execution(record: Mapping[str, Any] | None) -> Execution | None:
    if record is None:
        return None
    return Execution(
        worker=record["worker"],
        start=record["execution_start_time"],
        end=record["execution_end_time"],
        input_transform_s=record["input_transform_s"],
        task_s=record["task_s"],
        result_transform_s=record["result_transform_s"],
    )


def _unreadable(path: Path, reason: str) -> RunError:
    return RunError(f"run {str(path.parent)!r}", f"{path.name} cannot be read ({reason})", _ADVICE)
