"""What Slurm says of a job: whether it is over, and how long it may go on."""

from __future__ import annotations

import os
import re
import shutil
import time
from typing import NamedTuple

__all__ = ["JobStatus", "current_job", "job_status", "seconds_in"]

_ENDED = frozenset({
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
})
_TIMEOUT_SECONDS = 10.0
_TIME_LEFT = re.compile(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)")


class JobStatus(NamedTuple):
    """What is known of a job."""

    is_over: bool | None
    """`None` if nobody can tell here, now."""
    left: float | None
    """Seconds that it may go on; `None` if that is not known, or without limit."""


def current_job() -> str | None:
    """The job that this process runs in."""
    return os.environ.get("SLURM_JOB_ID")


def job_status(job: str) -> JobStatus:
    """Ask ``squeue``, or the environment where there is none. Takes 10 s at most."""
    program = shutil.which("squeue")
    found = None if program is None else _asked(program, job)
    return found or JobStatus(None, _left_by_environment(job))


def _asked(program: str, job: str) -> JobStatus | None:
    import subprocess  # for few programs

    command = [program, "--noheader", "--states=all", "--format=%T|%L", f"--jobs={job}"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode:
        # Long after its end a job is not known any more; other failures say nothing about it.
        is_forgotten = "invalid job id" in answer.stderr.lower()
        return JobStatus(is_over=True, left=0.0) if is_forgotten else None
    # A line for each element of an array.
    lines = [line.strip().partition("|") for line in answer.stdout.splitlines() if line.strip()]
    running = [left for state, _, left in lines if state not in _ENDED]
    if not running:
        return JobStatus(is_over=True, left=0.0)
    limits = [seconds_in(left) for left in running]
    known = [seconds for seconds in limits if seconds is not None]
    return JobStatus(is_over=False, left=max(known) if len(known) == len(limits) else None)


def seconds_in(left: str) -> float | None:
    """The seconds in ``[[DAYS-]HOURS:]MINUTES:SECONDS``; `None` for anything else (UNLIMITED)."""
    found = _TIME_LEFT.fullmatch(left.strip())
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _left_by_environment(job: str) -> float | None:
    end = os.environ.get("SLURM_JOB_END_TIME", "")
    if job != current_job() or not end.isdigit():
        return None
    return max(0.0, int(end) - time.time())
