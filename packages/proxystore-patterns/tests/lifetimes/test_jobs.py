"""Lifetimes of Slurm jobs, with a stand-in for ``squeue`` on the path that says what it is told."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxystore.store import Store
from proxystore_patterns.errors import JobNotFoundError, LifetimeEndedError
from proxystore_patterns.lifetimes import JobLifetime, find_leaks, remove_leaks
from proxystore_patterns.lifetimes._slurm import JobStatus, job_status, seconds_in

Until = Callable[[Callable[[], bool]], bool]


class Squeue:
    """A stand-in for the program: prints what is in a file, or fails as it does."""

    def __init__(self, folder: Path) -> None:
        self.answer, self.asked = folder / "answer", folder / "asked"
        program = folder / "squeue"
        program.write_text(
            f'#!/bin/sh\necho "$@" >> {self.asked}\n'
            f"if [ -s {self.answer} ]; then cat {self.answer}; exit 0; fi\n"
            'echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1\n'
        )
        program.chmod(0o755)

    def says(self, *lines: str) -> None:
        self.answer.write_text("".join(f"{line}\n" for line in lines))

    def is_down(self) -> None:
        self.answer.parent.joinpath("squeue").write_text(
            '#!/bin/sh\necho "Unable to contact slurm controller" >&2; exit 1\n'
        )


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Squeue:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    return Squeue(folder)


@pytest.mark.slow
@pytest.mark.parametrize("last", ["COMPLETED|0:00", "TIMEOUT|0:00", ""])
def test_objects_end_with_the_job(
    make_store: Callable[..., Store[Any]], squeue: Squeue, last: str, until: Until
) -> None:
    store = make_store("file")
    squeue.says("RUNNING|1:00:00")
    lifetime = JobLifetime(store, poll_seconds=0.05)
    key = store.put(1, lifetime=lifetime)
    assert "4711" == lifetime.job_id
    assert "--jobs=4711" in squeue.asked.read_text()
    assert not lifetime.done()
    assert store.exists(key)
    squeue.says(*filter(None, [last]))
    assert until(lifetime.done)
    assert until(lambda: not store.exists(key))
    with pytest.raises(LifetimeEndedError):
        store.put(1, lifetime=lifetime)


def test_the_medium_ends_objects_at_the_limit_of_the_job(
    make_store: Callable[..., Store[Any]], squeue: Squeue
) -> None:
    squeue.says("RUNNING|1:00:00")
    store = make_store("file")
    with JobLifetime(store) as lifetime:
        store.put(1, lifetime=lifetime)
        (entry,) = store.connector.entries()
        assert entry.expires is not None
        assert 3600 < entry.expires - time.time() <= 3600 + 60


def test_a_job_that_gets_more_time_keeps_its_objects(
    make_store: Callable[..., Store[Any]], squeue: Squeue, until: Until
) -> None:
    squeue.says("RUNNING|1:00:00")
    store = make_store("file")
    with JobLifetime(store, poll_seconds=0.02) as lifetime:
        store.put(1, lifetime=lifetime)
        squeue.says("RUNNING|2:00:00")

        def left() -> float:
            (entry,) = store.connector.entries()
            assert entry.expires is not None
            return entry.expires - time.time()

        assert until(lambda: left() > 7000)


def test_what_a_job_that_is_over_left_is_found(
    store: Store[Any], squeue: Squeue, run: Callable[..., Any]
) -> None:
    squeue.says("RUNNING|UNLIMITED")
    program = run(
        "from proxystore.store import get_store\n"
        "from proxystore_patterns.lifetimes import JobLifetime\n"
        "store = get_store(given)\n"
        "say(tuple(store.put(1, lifetime=JobLifetime(store))))",
        store.proxy("any"),
    )
    key = store.make_key(program.hear())
    assert 0 == program.wait()
    assert store.exists(key), "other tasks of the job may use it"
    assert [] == find_leaks()
    squeue.says("COMPLETED|0:00")
    assert ["job-4711"] == [leak.lifetime for leak in remove_leaks()]
    assert not store.exists(key)


def test_without_slurm_the_job_must_be_named(
    monkeypatch: pytest.MonkeyPatch, make_store: Callable[..., Store[Any]], tmp_path: Path
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    store = make_store("local")
    with pytest.raises(JobNotFoundError, match="SLURM_JOB_ID is not set"):
        JobLifetime(store)
    with JobLifetime(store, job_id="1") as lifetime:
        key = store.put(1, lifetime=lifetime)
        assert JobStatus(None, None) == job_status("1")
    assert not store.exists(key)


def test_without_squeue_the_environment_knows_the_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 100))
    status = job_status("1")
    assert status.is_over is None
    assert status.left is not None
    assert 90 < status.left <= 100
    assert JobStatus(None, None) == job_status("2")


def test_a_controller_that_is_down_ends_no_job(squeue: Squeue) -> None:
    squeue.is_down()
    assert job_status("4711").is_over is None


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["RUNNING|10:00"], JobStatus(False, 600.0)),
        (["PENDING|1-00:00:00"], JobStatus(False, 86400.0)),
        (["COMPLETED|0:00", "RUNNING|1:00"], JobStatus(False, 60.0)),
        (["RUNNING|1:00", "RUNNING|2:00"], JobStatus(False, 120.0)),
        (["RUNNING|UNLIMITED", "RUNNING|2:00"], JobStatus(False, None)),
        (["COMPLETING|0:00"], JobStatus(False, 0.0)),
        (["CANCELLED|0:00", "FAILED|INVALID"], JobStatus(True, 0.0)),
    ],
)
def test_a_job_is_over_when_all_of_it_is(
    squeue: Squeue, lines: list[str], status: JobStatus
) -> None:
    squeue.says(*lines)
    assert status == job_status("4711")


@given(st.integers(0, 365), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_times_are_read_as_slurm_writes_them(d: int, h: int, m: int, s: int) -> None:
    total = float(((d * 24 + h) * 60 + m) * 60 + s)
    assert total == seconds_in(f"{d}-{h:02}:{m:02}:{s:02}")
    assert total - d * 86400 == seconds_in(f"{h}:{m:02}:{s:02}")
    assert float(m * 60 + s) == seconds_in(f"{m}:{s:02}")


@pytest.mark.parametrize("text", ["", "UNLIMITED", "NOT_SET", "INVALID", "1", "1-2", "a:b"])
def test_other_words_are_no_times(text: str) -> None:
    assert seconds_in(text) is None
