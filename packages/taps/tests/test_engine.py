from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taps.engine import Engine, JSONLinesRecordLogger, TaskFuture, task, wait
from taps.errors import DependencyError, EngineClosedError, TaskError, TaskSerializationError
from taps.executors.serial import SerialExecutor
from taps.testing import tasks

Records = Callable[[], list[dict[str, Any]]]


class Point(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass(frozen=True)
class Box:
    content: Any


@pytest.fixture
def engine(records: Path) -> Any:
    with Engine(ThreadPoolExecutor(2), record_logger=JSONLinesRecordLogger(records)) as engine:
        yield engine


# --- Tasks ------------------------------------------------------------------------


def test_a_task_is_named_after_its_function_or_as_told() -> None:
    assert tasks.add.name == "add"
    assert tasks.total.name == "sum-of-many"


def test_calling_a_task_calls_the_function() -> None:
    assert tasks.add(1, 2) == 3


# --- Futures in arguments ------------------------------------------------------------

VALUES = st.integers(0, 9)
NESTED = st.recursive(
    VALUES | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.builds(Point, inner, inner)
        | st.builds(Box, inner)
    ),
    max_leaves=12,
)


def with_futures(engine: Engine, value: Any) -> Any:
    """``value`` with a future in place of each integer."""
    if isinstance(value, int):
        return engine.submit(tasks.identity, value)
    if isinstance(value, Point):
        return Point(*(with_futures(engine, item) for item in value))
    if isinstance(value, Box):
        return Box(with_futures(engine, value.content))
    if isinstance(value, dict):
        return {key: with_futures(engine, item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(with_futures(engine, item) for item in value)
    return value


@pytest.mark.slow
@given(NESTED)
def test_futures_are_replaced_wherever_they_are(value: Any) -> None:
    with Engine(SerialExecutor()) as engine:
        future = engine.submit(tasks.identity, with_futures(engine, value))
        assert future.result() == value


def test_futures_in_sets_and_ordered_dicts_are_replaced(engine: Engine) -> None:
    one, two = engine.submit(tasks.identity, 1), engine.submit(tasks.identity, 2)
    result = engine.submit(tasks.identity, [{one, two}, OrderedDict(a=one)]).result(30)
    assert result == [{1, 2}, OrderedDict(a=1)]
    assert type(result[1]) is OrderedDict


def test_arguments_without_futures_are_the_very_objects(engine: Engine) -> None:
    kept = [1, {"a": [2]}]
    parent = engine.submit(tasks.identity, 0)
    assert engine.submit(tasks.identity, [kept, parent]).result(30)[0] is kept


def test_an_argument_that_contains_itself_is_passed(engine: Engine) -> None:
    knot: list[Any] = []
    knot.append(knot)
    assert engine.submit(tasks.identity, knot).result(30) is knot


def test_waiting_children_occupy_no_worker(tmp_path: Path) -> None:
    gate = threading.Event()
    with Engine(ThreadPoolExecutor(1)) as engine:
        parent = engine.submit(gate.wait, 30)
        children = [engine.submit(tasks.identity, parent) for _ in range(10)]
        gate.set()  # The only thread runs the parent: a blocked child would be in its way.
        assert [child.result(30) for child in children] == [True] * 10


def test_a_result_is_not_unpickled_between_tasks(processes: Engine, tmp_path: Path) -> None:
    parent = processes.submit(tasks.identity, Counter(a=1))
    child = processes.submit(tasks.identity, [parent])
    assert child.result(30) == [Counter(a=1)]
    assert parent._value == {}


def test_futures_of_another_engine_are_understood(processes: Engine) -> None:
    with Engine(ThreadPoolExecutor(1)) as threads:
        there = processes.submit(tasks.add, 1, 2)
        assert threads.submit(tasks.add, there, 1).result(30) == 4


# --- Failures ---------------------------------------------------------------------


def test_two_failing_parents_fail_their_child_once(engine: Engine, read_records: Records) -> None:
    parents = [engine.submit(tasks.fail, f"parent {n}") for n in range(2)]
    child = engine.submit(tasks.total, *parents)
    assert isinstance(child.exception(30), DependencyError)
    engine.shutdown()
    assert [record["name"] for record in read_records()].count("sum-of-many") == 1


def test_failure_runs_down_a_chain_of_thousands() -> None:
    gate = threading.Event()

    def fail_late() -> None:
        gate.wait(30)
        raise ValueError("at first")

    with Engine(ThreadPoolExecutor(1)) as engine:
        future: TaskFuture[Any] = engine.submit(fail_late)
        for _ in range(5000):
            future = engine.submit(tasks.identity, future)
        gate.set()
        error = future.exception(60)
    assert "'fail_late'" in str(error)
    assert isinstance(error, DependencyError)
    assert isinstance(error.__cause__, ValueError)


def test_a_result_that_does_not_fit_where_its_future_was_fails_the_child(engine: Engine) -> None:
    future = engine.submit(tasks.identity, {engine.submit(tasks.identity, [1])})
    with pytest.raises(TypeError, match="unhashable"):
        future.result(30)


def test_an_unpicklable_argument_names_the_task(processes: Engine) -> None:
    future = processes.submit(tasks.identity, tasks.Unpicklable())
    with pytest.raises(TaskSerializationError, match=r"arguments of task 'identity'.*thread-pool"):
        future.result(30)


def test_an_unpicklable_result_names_the_task(processes: Engine) -> None:
    with pytest.raises(TaskSerializationError, match="result of task 'return_unpicklable'"):
        processes.submit(tasks.return_unpicklable).result(30)


def test_an_exception_that_cannot_travel_is_described(processes: Engine) -> None:
    with pytest.raises(TaskError, match="UnpicklableError: two words"):
        processes.submit(tasks.raise_unpicklable).result(30)


def test_an_error_of_another_process_tells_where_it_was_raised(processes: Engine) -> None:
    error = processes.submit(tasks.fail, "over there").exception(30)
    assert error is not None
    assert "in fail" in "".join(error.__notes__)


def test_submitting_after_shutdown_is_refused(engine: Engine) -> None:
    engine.shutdown()
    with pytest.raises(EngineClosedError, match="'add'"):
        engine.submit(tasks.add, 1, 2)


# --- Cancelling -----------------------------------------------------------------


def test_cancelling_a_parent_cancels_its_children(engine: Engine, read_records: Records) -> None:
    gate = threading.Event()
    running = [engine.submit(gate.wait, 30) for _ in range(2)]
    queued = engine.submit(tasks.identity, 1)
    child = engine.submit(tasks.identity, [queued])
    assert queued.cancel()
    gate.set()
    assert wait([child, *running], 30).not_done == set()
    with pytest.raises(CancelledError):
        child.result(0)
    failed = [record["exception"]["type"] for record in read_records() if not record["success"]]
    assert failed == ["CancelledError"] * 2


def test_a_task_that_waits_for_parents_can_be_cancelled(engine: Engine) -> None:
    gate = threading.Event()
    child = engine.submit(tasks.identity, engine.submit(gate.wait, 30))
    assert child.cancel()
    gate.set()
    assert child.cancelled()


def test_a_finished_task_cannot_be_cancelled(engine: Engine) -> None:
    future = engine.submit(tasks.identity, 1)
    future.result(30)
    assert not future.cancel()


# --- Records -----------------------------------------------------------------------


def test_a_record_has_every_field(processes: Engine, read_records: Records) -> None:
    parent = processes.submit(tasks.identity, "x" * 1000)
    processes.submit(tasks.identity, [parent]).result(30)
    first, second = read_records()
    assert second["parent_task_ids"] == [first["task_id"]]
    assert 1000 < first["result_bytes"] < 1200
    assert 1000 < second["argument_bytes"] < 1400
    assert first["execution"]["pid"] != os.getpid()
    assert str(first["execution"]["pid"]) in first["execution"]["worker"]
    assert (first["name"], first["attempt"], first["exception"]) == ("identity", 1, None)


def test_times_of_a_record_are_in_order(engine: Engine, read_records: Records) -> None:
    engine.submit(tasks.identity, 1).result(30)
    (record,) = read_records()
    execution = record["execution"]
    order = [
        record["submit_time"], record["dispatch_time"], execution["execution_start_time"],
        execution["input_transform_start_time"], execution["input_transform_end_time"],
        execution["task_start_time"], execution["task_end_time"],
        execution["result_transform_start_time"], execution["result_transform_end_time"],
        execution["execution_end_time"],
    ]  # fmt: skip
    assert order[2:] == sorted(order[2:])
    assert order[:2] == sorted(order[:2])
    assert record["received_time"] >= record["dispatch_time"]


def test_failed_tasks_have_times_and_tracebacks(processes: Engine, read_records: Records) -> None:
    processes.submit(tasks.fail, "timed").exception(30)
    (record,) = read_records()
    assert record["success"] is False
    assert record["exception"]["type"] == "ValueError"
    assert "in fail" in record["exception"]["traceback"]
    assert record["execution"]["task_s"] >= 0


def test_a_record_is_written_before_its_result_is_seen(
    engine: Engine, read_records: Records
) -> None:
    for n in range(1, 50):
        engine.submit(tasks.identity, n).result(30)
        assert len(read_records()) == n


HARD_EXIT = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from taps.engine import Engine, JSONLinesRecordLogger
from taps.testing import tasks

engine = Engine(ThreadPoolExecutor(2), record_logger=JSONLinesRecordLogger(sys.argv[1]))
for n in range(25):
    engine.submit(tasks.identity, n).result()
os._exit(7)
"""


def test_records_survive_a_hard_exit(records: Path, read_records: Records) -> None:
    process = subprocess.run([sys.executable, "-c", HARD_EXIT, str(records)], check=False)
    assert process.returncode == 7
    assert len(read_records()) == 25


def test_records_that_cannot_be_written_fail_the_shutdown_not_the_task() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here to write to")
    engine = Engine(ThreadPoolExecutor(1), record_logger=JSONLinesRecordLogger("/dev/full"))
    assert engine.submit(tasks.add, 1, 2).result(30) == 3
    with pytest.raises(OSError, match="No space left"):
        engine.shutdown()


def test_totals_are_the_sums_of_the_records(processes: Engine, read_records: Records) -> None:
    wait([processes.submit(tasks.identity, "y" * n) for n in range(100, 120)], 30)
    totals = processes.totals
    assert totals.tasks == 20
    assert totals.argument_bytes == sum(record["argument_bytes"] for record in read_records())
    assert totals.result_bytes == sum(record["result_bytes"] for record in read_records())


@pytest.mark.parametrize("value", [b"z" * 300_000, bytearray(300_000), "small", [b"q" * 20_000]])
def test_values_of_every_size_arrive_and_are_counted(processes: Engine, value: Any) -> None:
    future = processes.submit(tasks.identity, value)
    assert future.result(30) == value
    size = len(value) if not isinstance(value, list) else len(value[0])
    assert size <= future.info.argument_bytes <= size + 700
    assert size <= future.info.result_bytes <= size + 700


def test_arrays_that_arrive_can_be_written(processes: Engine) -> None:
    numpy = pytest.importorskip("numpy", reason="arrays need numpy")
    for n in (10, 100_000):
        array = processes.submit(tasks.identity, numpy.ones(n)).result(30)
        array += 1
        assert array.sum() == 2 * n


def test_a_decorated_function_can_be_named_without_parentheses() -> None:
    @task
    def plain() -> int:
        return 1

    assert (plain.name, plain()) == ("plain", 1)


def test_map_cancels_what_is_left_when_it_is_closed(engine: Engine) -> None:
    gate = threading.Event()
    results = engine.map(lambda wait: wait and gate.wait(30), [False] + [True] * 20)
    assert next(iter(results)) is False
    gate.set()
    results.close()  # type: ignore[attr-defined]
    engine.shutdown()
    assert engine.tasks_executed == 21
