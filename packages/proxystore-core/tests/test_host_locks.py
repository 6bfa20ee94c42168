"""Locks on open files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxystore.host.locks import lock, try_lock, unlock


def opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def test_a_second_open_file_cannot_take_a_lock_that_is_held(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "lock"), opened(tmp_path / "lock")
    assert try_lock(first)
    assert not try_lock(second)
    os.close(first)
    assert try_lock(second)
    os.close(second)


def test_shared_locks_go_together_and_exclude_an_exclusive_one(tmp_path: Path) -> None:
    fds = [opened(tmp_path / "lock") for _ in range(3)]
    assert try_lock(fds[0], shared=True)
    assert try_lock(fds[1], shared=True)
    assert not try_lock(fds[2])
    for fd in fds:
        os.close(fd)


def test_waiting_for_a_lock_ends_after_the_timeout(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "lock"), opened(tmp_path / "lock")
    lock(first, 1.0)
    with pytest.raises(TimeoutError, match=r"another process for 0\.01 s"):
        lock(second, 0.01)
    unlock(first)
    lock(second, 1.0)
    os.close(first)
    os.close(second)


@pytest.mark.slow
def test_a_killed_process_holds_no_lock(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from proxystore.host.locks import try_lock\n"
        "fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
        "print(try_lock(fd), flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "lock")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        fd = opened(tmp_path / "lock")
        assert not try_lock(fd)
        process.kill()
        process.wait(30)
        assert try_lock(fd)
        os.close(fd)
