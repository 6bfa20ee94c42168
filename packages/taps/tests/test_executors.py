from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from queue import Queue

import pytest

from taps.engine import Engine, TaskFuture, wait
from taps.errors import WorkerDiedError
from taps.executors import ExecutorConfig
from taps.executors.processes import ProcessPoolConfig
from taps.executors.serial import SerialConfig, SerialExecutor
from taps.executors.threads import ThreadPoolConfig
from taps.testing import ExecutorContract, tasks


class TestSerialContract(ExecutorContract):
    @pytest.fixture
    def executor_config(self) -> ExecutorConfig:
        return SerialConfig()


class TestThreadPoolContract(ExecutorContract):
    @pytest.fixture
    def executor_config(self) -> ExecutorConfig:
        return ThreadPoolConfig(max_threads=2)


class TestForkedProcessPoolContract(ExecutorContract):
    @pytest.fixture
    def executor_config(self) -> ExecutorConfig:
        return ProcessPoolConfig(max_processes=2, context="fork")


@pytest.mark.slow
class TestSpawnedProcessPoolContract(ExecutorContract):
    @pytest.fixture
    def executor_config(self) -> ExecutorConfig:
        return ProcessPoolConfig(max_processes=1, context="spawn")


def test_serial_tasks_run_in_the_thread_that_submits_them() -> None:
    with Engine(SerialExecutor()) as engine:
        future = engine.submit(tasks.where)
        assert future.done()
        assert future.result() == (os.getpid(), "MainThread")


def test_a_serial_task_that_is_interrupted_interrupts_the_caller() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Engine(SerialExecutor()).submit(interrupt)


def test_a_shared_memory_executor_passes_the_very_objects() -> None:
    value = object()
    with Engine(ThreadPoolConfig(max_threads=1).get_executor()) as engine:
        future = engine.submit(tasks.identity, value)
        assert future.result() is value
        assert future.info.argument_bytes == 0


def test_a_killed_worker_fails_its_tasks_by_name_and_hangs_nobody(processes: Engine) -> None:
    killed = processes.submit(tasks.kill_own_worker)
    child = processes.submit(tasks.identity, killed)
    with pytest.raises(WorkerDiedError, match=r"'kill_own_worker'.*--executor serial"):
        killed.result(60)
    with pytest.raises(RuntimeError, match="'kill_own_worker'"):
        child.result(60)
    with pytest.raises(WorkerDiedError, match="'add'"):
        processes.submit(tasks.add, 1, 2).result(60)


def test_a_worker_that_dies_while_it_sends_a_result_hangs_nobody(processes: Engine) -> None:
    lost = processes.submit(tasks.die_while_sending)
    with pytest.raises(WorkerDiedError, match="'die_while_sending'"):
        lost.result(30)


def test_workers_that_have_just_been_started_leave_ctrl_c_to_their_parent() -> None:
    executor = ProcessPoolConfig(max_processes=1, context="spawn").get_executor()
    with Engine(executor) as engine:
        future = engine.submit(tasks.add, 1, 2)
        for pid in executor._processes:
            os.kill(pid, signal.SIGINT)
        assert future.result(60) == 3


def test_a_callback_may_submit_after_a_worker_died(processes: Engine) -> None:
    killed = processes.submit(tasks.kill_own_worker)
    later: Queue[TaskFuture[float]] = Queue()
    killed.add_done_callback(lambda _: later.put(processes.submit(tasks.add, 1, 2)))
    assert isinstance(later.get(timeout=60).exception(60), WorkerDiedError)


def test_a_worker_that_dies_after_a_task_was_cancelled_hangs_nobody(
    processes: Engine, tmp_path: Path, eventually: Callable[[Callable[[], object]], None]
) -> None:
    futures = [processes.submit(tasks.wait_for_file, str(tmp_path / f"{n}")) for n in range(12)]
    waiting = tmp_path / "0.waiting"
    eventually(lambda: waiting.exists() and waiting.read_text())
    assert futures[6].cancel()
    os.kill(int(waiting.read_text()), signal.SIGKILL)
    assert wait(futures, 30).not_done == set()
    assert isinstance(futures[-1].exception(0), WorkerDiedError)


PARENT = """
import sys
from taps.engine import Engine, TaskFuture, wait
from taps.executors.processes import ProcessPool
from taps.testing import tasks

if __name__ == "__main__":
    engine = Engine(ProcessPool(2, sys.argv[1]))
    print(*{engine.submit(tasks.where).result()[0] for _ in range(8)}, flush=True)
    engine.submit(tasks.wait_for_file, sys.argv[2])
    sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_end_when_their_parent_is_killed(
    tmp_path: Path,
    context: str,
    eventually: Callable[[Callable[[], object]], None],
    is_alive: Callable[[int], bool],
) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    command = [sys.executable, str(script), context, str(tmp_path / "never")]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert workers
        parent.kill()
    eventually(lambda: not any(is_alive(pid) for pid in workers))
