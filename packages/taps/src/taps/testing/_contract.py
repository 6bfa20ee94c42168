"""What every executor must do under an engine."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator
from pathlib import Path

import pytest

from taps.engine import Engine, JSONLinesRecordLogger, as_completed, wait
from taps.errors import DependencyError, TaskSerializationError
from taps.executors import ExecutorConfig
from taps.testing import tasks

TIMEOUT_S = 60


class ExecutorContract:
    """Each test is a promise to the engine and to the apps.

    A subclass gives the fixture ``executor_config``.
    """

    @pytest.fixture
    def executor_config(self) -> ExecutorConfig:
        raise NotImplementedError("Give your subclass a fixture named executor_config.")

    @pytest.fixture
    def records(self, tmp_path: Path) -> Path:
        return tmp_path / "tasks.jsonl"

    @pytest.fixture
    def engine(self, executor_config: ExecutorConfig, records: Path) -> Iterator[Engine]:
        logger = JSONLinesRecordLogger(records)
        with Engine(executor_config.get_executor(), record_logger=logger) as engine:
            yield engine

    def test_a_result_is_what_the_function_returns(self, engine: Engine) -> None:
        assert engine.submit(tasks.add, 2, 3).result(TIMEOUT_S) == 5

    def test_map_keeps_the_order(self, engine: Engine) -> None:
        results = engine.map(operator.mul, range(20), range(20), timeout=TIMEOUT_S)
        assert list(results) == [n * n for n in range(20)]

    def test_futures_are_found_at_any_depth(self, engine: Engine) -> None:
        one, two = engine.submit(tasks.identity, 1), engine.submit(tasks.identity, 2)
        combined = engine.submit(tasks.combine, a=[one, {"b": (two, 3)}], c=one)
        assert combined.result(TIMEOUT_S) == {"a": [1, {"b": (2, 3)}], "c": 1}

    def test_a_long_chain_ends(self, engine: Engine) -> None:
        future = engine.submit(tasks.identity, 0)
        for _ in range(50):
            future = engine.submit(tasks.add, future, 1)
        assert future.result(TIMEOUT_S) == 50

    def test_an_error_reaches_whoever_asks(self, engine: Engine) -> None:
        with pytest.raises(ValueError, match="as it should"):
            engine.submit(tasks.fail, "as it should").result(TIMEOUT_S)

    def test_a_child_of_a_failed_task_names_it_and_has_its_error_as_cause(
        self, engine: Engine
    ) -> None:
        failed = engine.submit(tasks.fail, "first")
        child = engine.submit(tasks.identity, [engine.submit(tasks.identity, failed), failed])
        with pytest.raises(DependencyError, match="'fail'") as caught:
            child.result(TIMEOUT_S)
        assert isinstance(caught.value.__cause__, ValueError)

    def test_a_result_that_cannot_travel_is_an_error_or_arrives(self, engine: Engine) -> None:
        future = engine.submit(tasks.return_unpicklable)
        with contextlib.suppress(TaskSerializationError):
            assert isinstance(future.result(TIMEOUT_S), tasks.Unpicklable)

    def test_an_argument_that_cannot_travel_is_an_error_or_arrives(self, engine: Engine) -> None:
        future = engine.submit(tasks.identity, tasks.Unpicklable())
        with contextlib.suppress(TaskSerializationError):
            assert isinstance(future.result(TIMEOUT_S), tasks.Unpicklable)

    def test_a_task_that_exits_does_not_end_whoever_asks(self, engine: Engine) -> None:
        with pytest.raises(RuntimeError, match="SystemExit"):
            engine.submit(tasks.exit_politely).result(TIMEOUT_S)
        assert engine.submit(tasks.add, 1, 1).result(TIMEOUT_S) == 2

    def test_tasks_can_be_waited_for_in_either_way(self, engine: Engine) -> None:
        futures = [engine.submit(tasks.identity, n) for n in range(5)]
        assert sorted(done.result() for done in as_completed(futures, TIMEOUT_S)) == [*range(5)]
        assert wait(futures, TIMEOUT_S).not_done == set()

    def test_every_task_leaves_one_record(self, engine: Engine, records: Path) -> None:
        futures = [engine.submit(tasks.identity, n) for n in range(100)]
        wait(futures, TIMEOUT_S)
        assert len(records.read_text().splitlines()) == 100

    def test_shutting_down_twice_is_not_an_error(self, engine: Engine) -> None:
        engine.submit(tasks.add, 1, 1).result(TIMEOUT_S)
        engine.shutdown()
        engine.shutdown()

    def test_shutdown_waits_for_tasks_that_wait_for_others(self, engine: Engine) -> None:
        future = engine.submit(tasks.identity, 1)
        for _ in range(5):
            future = engine.submit(tasks.add, future, 1)
        engine.shutdown()
        assert future.result(0) == 6
