"""Parsl: apps unedited with `use_store`, its pool under `StoreExecutor`, and memoization."""

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from executor_tasks import LARGE, fail, identity, increase, is_proxy, stamp, total

from proxystore.errors import CapabilityError, ObjectNotFoundError
from proxystore.store import Store
from proxystore_patterns.executors import ProxySize, StoreExecutor
from proxystore_patterns.ownership import OwnedProxy

parsl = pytest.importorskip("parsl", reason="needs the extra parsl")
engine = pytest.importorskip("proxystore_patterns.executors.parsl")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    from parsl.concurrent import ParslPoolExecutor
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    # Its programs are beside the interpreter.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    executor = HighThroughputExecutor(
        address="127.0.0.1",
        loopback_address="127.0.0.1",
        max_workers_per_node=2,
        encrypted=False,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    folder = str(tmp_path_factory.mktemp("runs"))
    config = Config([executor], run_dir=folder, strategy="none", initialize_logging=False)
    with ParslPoolExecutor(config) as pool:
        yield pool


@pytest.fixture
def by_store(counted):
    engine.use_store(counted[0], min_nbytes=10_000)
    yield counted
    engine.stop_using_store()


class TestUnedited:
    def test_apps_get_objects_by_store(self, pool, by_store):
        assert pool.submit(is_proxy, np.ones(LARGE), large=np.ones(LARGE)).result() == [False] * 2
        assert by_store[1]() == 2

    def test_results_come_by_store_without_a_setting_of_the_workers(self, pool, by_store):
        result = pool.submit(np.ones, LARGE).result()
        assert type(result) is np.ndarray
        assert result.sum() == LARGE
        assert by_store[1]() == 1

    def test_arguments_can_be_changed_and_returned(self, pool, by_store):
        result = pool.submit(increase, np.ones(LARGE)).result()
        result += 1
        assert result.sum() == 3 * LARGE

    def test_large_bytes_go_by_store_too(self, pool, by_store):
        assert pool.submit(identity, b"x" * LARGE).result() == b"x" * LARGE
        assert by_store[1]() == 2

    def test_a_message_that_comes_too_late_says_so(self, counted):
        store, n_objects = counted
        engine.use_store(store, min_nbytes=10_000)
        (serializer, *_) = engine.facade.methods_for_data.values()
        engine.stop_using_store()
        message = serializer.serialize([np.ones(LARGE)])
        assert len(message) < 1000
        assert n_objects() == 1
        assert serializer.deserialize(message)[0].sum() == LARGE
        _route, _, sent = pickle.loads(message)
        (slip,) = [each for each in sent if not isinstance(each, bytes)]
        store.evict(store.make_key(slip.key))
        with pytest.raises(ObjectNotFoundError):
            serializer.deserialize(message)

    def test_a_serializer_without_a_store_sends_nothing(self):
        with pytest.raises(TypeError, match="use_store"):
            engine.StoreSerializer().serialize(1)

    def test_a_store_of_one_process_is_refused(self):
        from proxystore.connectors.local import LocalConnector

        with Store("local", LocalConnector()) as local:
            with pytest.raises(CapabilityError, match="cross-process"):
                engine.use_store(local)


class TestExecutor:
    @pytest.fixture
    def executor(self, pool, counted):
        return StoreExecutor(pool, counted[0], ProxySize(10_000), close_store=False)

    def test_arguments_and_results_go_by_store(self, executor, counted):
        assert executor.submit(is_proxy, np.ones(LARGE), 1).result() == [True, False]
        result = executor.submit(increase, np.ones(LARGE)).result()
        assert isinstance(result, OwnedProxy)
        assert result.sum() == 2 * LARGE
        del result
        assert counted[1]() == 0

    def test_futures_of_results_by_store_can_be_given_to_tasks(self, executor, counted):
        made = executor.submit(np.ones, LARGE)
        sums = [executor.submit(total, made) for _ in range(2)]
        changed = executor.submit(increase, made)
        assert [each.result() for each in sums] == [LARGE] * 2
        assert changed.result().sum() == 2 * LARGE
        assert executor.submit(total, made).result() == made.result().sum() == LARGE
        del made, sums, changed
        assert counted[1]() == 0

    def test_failures_reach_tasks_that_were_given_the_future(self, executor, counted):
        failed = executor.submit(fail, np.ones(LARGE))
        with pytest.raises(parsl.dataflow.errors.DependencyError):
            executor.submit(total, failed).result()
        assert counted[1]() == 0

    def test_one_function_is_one_app(self, executor, pool):
        executor.submit(total, 1).result()
        before = pool.app_count
        executor.submit(total, 2).result()
        assert pool.app_count == before


class TestMemoization:
    @pytest.fixture(autouse=True)
    def by_content(self):
        engine.memoize_by_content()
        engine.memoize_by_content()

    def test_equal_content_is_the_same_argument(self, pool, counted):
        app = parsl.python_app(stamp, cache=True)
        first = app(np.ones(LARGE)).result()
        assert app(np.ones(LARGE)).result() == first
        assert app(counted[0].proxy(np.ones(LARGE))).result() == first
        assert app(counted[0].proxy(np.zeros(LARGE))).result() != first
        assert app(np.ones(LARGE, dtype="f4")).result() != first

    @pytest.mark.parametrize("value", ["text", 7, [1, 2], {"a": 1}, (1,)])
    def test_proxies_count_as_what_parsl_knows(self, pool, counted, value):
        app = parsl.python_app(stamp, cache=True)
        assert app(counted[0].proxy(value)).result() == app(value).result()


def test_results_need_not_be_owned(pool, counted):
    executor = StoreExecutor(
        pool, counted[0], ProxySize(10_000), ownership=False, close_store=False
    )
    result = executor.submit(np.ones, LARGE).result()
    assert is_proxy(result) == [True]
    assert result.sum() == LARGE
