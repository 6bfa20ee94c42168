"""Dask: programs unedited with `use_store`, and its executor under `StoreExecutor`."""

import gc
import operator
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import numpy as np
import pytest
from executor_tasks import (
    LARGE,
    die,
    fail,
    identity,
    increase,
    is_proxy,
    ones_after,
    stamp,
    total,
)

from proxystore.errors import CapabilityError
from proxystore.store import Store
from proxystore_patterns.errors import ExecutorShutDownError
from proxystore_patterns.executors import ProxySize, StoreExecutor
from proxystore_patterns.futures import future
from proxystore_patterns.ownership import OwnedProxy

distributed = pytest.importorskip("distributed", reason="needs the extra dask")
engine = pytest.importorskip("proxystore_patterns.executors.dask")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store():
    with Store() as store:
        yield store


@pytest.fixture(scope="module")
def cluster(store):
    engine.use_store(store, min_nbytes=10_000, grace=0.2)
    try:
        with (
            distributed.LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address=None,
                memory_limit=0,
            ) as cluster,
        ):
            yield cluster
    finally:
        engine.stop_using_store()


@pytest.fixture(scope="module")
def client(cluster):
    with distributed.Client(cluster) as client:
        yield client


@pytest.fixture
def is_empty(store):
    """Whether the store becomes empty soon."""

    def check():
        for _ in range(100):
            gc.collect()
            if not any(store.connector.entries()):
                return True
            threading.Event().wait(0.05)
        return False

    return check


def test_functions_of_unedited_programs_get_objects(client):
    assert client.submit(is_proxy, np.ones(LARGE), large=np.ones(LARGE)).result() == [False] * 2


def test_arguments_go_by_store_until_their_tasks_are_forgotten(client, store, is_empty):
    task = client.submit(total, np.ones(LARGE), pure=False)
    assert task.result() == LARGE
    assert sum(1 for _ in store.connector.entries()) == 1
    del task
    assert is_empty()


def test_a_task_that_runs_again_gets_its_arguments_again(client):
    task = client.submit(np.add, np.ones(LARGE), 1, pure=False)
    distributed.wait(task)
    (holder,) = client.who_has(task)[task.key]
    client.restart_workers([holder])
    assert task.result(60).sum() == 2 * LARGE


def test_arguments_can_be_changed_and_returned(client):
    array = np.ones(LARGE)
    tasks = [client.submit(increase, array, pure=False) for _ in range(3)]
    assert [task.result().sum() for task in tasks] == [2 * LARGE] * 3
    assert array.sum() == LARGE


def test_what_is_scattered_has_several_readers(client, is_empty):
    array = client.scatter(np.ones(LARGE), broadcast=True)
    tasks = [
        client.submit(total, array, workers=[worker], pure=False)
        for worker in client.scheduler_info()["workers"]
    ]
    assert client.gather(tasks) == [LARGE] * 2
    assert client.gather(array).sum() == LARGE
    del array, tasks
    assert is_empty()


def test_results_pass_between_workers(client):
    first, second = client.scheduler_info()["workers"]
    made = client.submit(np.ones, LARGE, workers=[first], pure=False)
    assert client.submit(total, made, workers=[second], pure=False).result() == LARGE


def test_what_is_spilled_to_disk_does_not_go_by_store(store):
    from distributed.protocol import deserialize_bytes, serialize_bytelist

    engine.use_store(store, min_nbytes=10_000)
    try:
        before = sum(1 for _ in store.connector.entries())
        spilled = b"".join(serialize_bytelist(np.ones(LARGE)))
        assert deserialize_bytes(spilled).sum() == LARGE
        assert sum(1 for _ in store.connector.entries()) == before
    finally:
        engine.stop_using_store()


def test_a_store_of_one_process_is_refused():
    from proxystore.connectors.local import LocalConnector

    with Store("local", LocalConnector()) as local:
        with pytest.raises(CapabilityError, match="cross-process"):
            engine.use_store(local)


class TestUnderStoreExecutor:
    @pytest.fixture(params=["ours", "Dask's"])
    def executor(self, request, client, store):
        ours = request.param == "ours"
        plain = engine.DaskExecutor(client) if ours else client.get_executor(pure=False)
        return StoreExecutor(plain, store, ProxySize(10_000), close_store=False)

    def test_arguments_and_results_go_by_store(self, executor, is_empty):
        assert executor.submit(is_proxy, np.ones(LARGE), 1).result() == [True, False]
        result = executor.submit(increase, np.ones(LARGE)).result()
        assert isinstance(result, OwnedProxy)
        assert [executor.submit(total, result).result() for _ in range(2)] == [2 * LARGE] * 2
        del result
        assert is_empty()

    def test_map_gives_items_by_store(self, executor, is_empty):
        items = [np.full(LARGE, n) for n in range(4)]
        assert [*executor.map(total, items)] == [n * LARGE for n in range(4)]
        assert is_empty()

    def test_tasks_that_fail_leave_nothing(self, executor, is_empty):
        with pytest.raises(ValueError, match="a task that fails"):
            executor.submit(fail, np.ones(LARGE)).result()
        assert is_empty()


def test_killed_workers_leave_no_arguments(client, store, is_empty):
    executor = StoreExecutor(
        client.get_executor(pure=False, retries=0), store, ProxySize(10_000), close_store=False
    )
    # Dask tries it again until its workers died as often as it allows.
    with pytest.raises(distributed.KilledWorker):
        executor.submit(die, np.ones(LARGE)).result(60)
    assert executor.submit(identity, np.ones(LARGE)).result(60).sum() == LARGE
    assert is_empty()


class TestExecutor:
    @pytest.fixture
    def executor(self, client):
        with engine.DaskExecutor(client, retries=0) as executor:
            yield executor

    def test_many_calls_give_each_its_result(self, executor):
        assert [*executor.map(operator.mul, range(300), [2] * 300)] == [*range(0, 600, 2)]

    def test_calls_of_many_threads_are_sent(self, executor):
        with ThreadPoolExecutor(8) as threads:
            tasks = [*threads.map(lambda n: executor.submit(abs, -n), range(200))]
        assert [task.result(60) for task in tasks] == [*range(200)]

    def test_equal_calls_are_different_tasks(self, executor):
        assert len({executor.submit(stamp, 1).result() for _ in range(3)}) == 3

    def test_errors_are_those_of_their_calls(self, executor):
        tasks = [executor.submit(fail if n % 2 else identity, n) for n in range(20)]
        for n, task in enumerate(tasks):
            if n % 2:
                with pytest.raises(ValueError, match="a task that fails"):
                    task.result(60)
            else:
                assert task.result(60) == n

    def test_what_cannot_be_pickled_is_refused(self, executor):
        with pytest.raises(TypeError, match="pickle"):
            executor.submit(identity, threading.Lock())

    def test_futures_of_its_own_are_refused_wherever_they_are(self, executor):
        task = executor.submit(abs, -1)
        for argument in (task, [task]):
            with pytest.raises(TypeError, match=r"Give its result: future.result\(\)"):
                executor.submit(identity, argument)

    def test_what_it_cannot_work_with_is_refused(self, client):
        with pytest.raises(TypeError, match=r"takes a distributed\.Client, not None"):
            engine.DaskExecutor(None)
        with pytest.raises(TypeError, match=r"takes the options .*retries.*, not 'bogus'"):
            engine.DaskExecutor(client, bogus=1)

    def test_a_call_that_could_not_be_put_in_line_holds_up_no_other(self, client, cluster):
        class Faltering(distributed.Client):
            falters = False

            @property
            def loop(self):
                if self.falters:
                    raise RuntimeError("it falters")
                return super().loop

        with (
            Faltering(cluster, set_as_default=False) as faltering,
            engine.DaskExecutor(faltering) as executor,
        ):
            faltering.falters = True
            with pytest.raises(RuntimeError, match="it falters"):
                executor.submit(abs, -1)
            faltering.falters = False
            assert executor.submit(abs, -1).result(10) == 1

    def test_a_result_that_cannot_be_sent_is_an_error_of_its_task(self, executor):
        tasks = [executor.submit(threading.Lock), executor.submit(abs, -1)]
        with pytest.raises(TypeError):
            tasks[0].result(60)
        assert tasks[1].result(60) == 1

    def test_futures_of_dask_are_given_as_their_results(self, executor, client):
        made = client.submit(np.ones, LARGE, pure=False)
        assert executor.submit(total, made).result(60) == LARGE

    def test_large_arguments_and_named_ones_are_given(self, executor):
        assert executor.submit(total, np.ones(1_000_000), np.ones(2)).result(60) == 1_000_002
        assert executor.submit(int, "11", base=2).result(60) == 3

    def test_proxies_of_results_to_come_are_given_unresolved(self, executor, store):
        coming = future(store)
        task = executor.submit(sum, coming.proxy(timeout=5))
        coming.set_result([1, 2, 3])
        assert task.result(60) == 6

    def test_nothing_waits_for_what_a_closed_client_refused(self, client, cluster):
        with distributed.Client(cluster, set_as_default=False) as closed:
            executor = engine.DaskExecutor(closed)
        for argument in (1, np.ones(LARGE)):
            with pytest.raises(Exception, match=r"[Cc]lose"):
                executor.submit(identity, argument).result(10)
        executor.shutdown()

    def test_tasks_that_were_cancelled_are_told_so(self, executor, tmp_path):
        begin = tmp_path / "begin"
        running = [executor.submit(ones_after, begin, 1) for _ in range(2)]
        tasks = [executor.submit(abs, -1) for _ in range(3)]
        assert tasks[0].cancel()
        begin.touch()
        assert [task.result(60) for task in tasks[1:]] == [1, 1]
        with pytest.raises(CancelledError):
            tasks[0].result(60)
        assert [task.result(60).sum() for task in running] == [1, 1]

    def test_killed_workers_fail_their_tasks(self, executor, client):
        with pytest.raises(distributed.KilledWorker):
            executor.submit(die, 1).result(60)
        assert executor.submit(abs, -1).result(60) == 1

    def test_shutdown_waits_or_cancels_and_refuses_more(self, client, tmp_path):
        executor = engine.DaskExecutor(client)
        begin = tmp_path / "begin"
        tasks = [executor.submit(ones_after, begin, 1) for _ in range(3)]
        executor.shutdown(wait=False, cancel_futures=True)
        assert all(task.cancelled() for task in tasks)
        begin.touch()
        with pytest.raises(ExecutorShutDownError, match="this DaskExecutor"):
            executor.submit(abs, -1)
        executor = engine.DaskExecutor(client)
        task = executor.submit(abs, -1)
        executor.shutdown()
        assert task.done()
        assert client.submit(abs, -2).result() == 2
