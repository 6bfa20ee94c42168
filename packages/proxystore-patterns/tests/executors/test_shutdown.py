"""What remains when a `StoreExecutor` is shut down, and what it refuses."""

import gc
import pickle
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from executor_tasks import increase, moved, ones_after, total, total_of_pickled

from proxystore.connectors.local import LocalConnector
from proxystore.errors import CapabilityError, ProxyStoreError
from proxystore.proxy import is_resolved
from proxystore.store import Store
from proxystore_patterns.errors import ExecutorShutDownError
from proxystore_patterns.executors import ProxyAlways, ProxySize, StoreExecutor
from proxystore_patterns.ownership import borrow, clone

LARGE = 10_000


class TestResults:
    @pytest.mark.slow
    def test_can_be_used_after_the_block(self):
        store = Store()
        pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        with StoreExecutor(pool, store, ProxySize(1000)) as executor:
            tasks = [executor.submit(increase, np.ones(LARGE)) for _ in range(2)]
            some = executor.map(np.ones, [LARGE] * 2, chunksize=2)
        first = tasks[0].result()
        assert not is_resolved(first)
        assert total(first, tasks[1].result(), *some) == 6 * LARGE

    @pytest.mark.parametrize("again", [clone, borrow, moved], ids=["cloned", "lent", "moved"])
    @pytest.mark.parametrize("within", [True, False], ids=["within", "after"])
    def test_are_good_for_whoever_got_them_from_who_had_them_first(self, again, within):
        with StoreExecutor(ThreadPoolExecutor(1), Store(), ProxySize(1000)) as executor:
            result = executor.submit(np.ones, LARGE).result()
            other = again(result) if within else None
            if within:
                del result
        if not within:
            other = again(result)
            del result
        gc.collect()
        assert total(other) == LARGE

    @pytest.mark.slow
    def test_are_good_in_another_process_when_none_is_left_here(self, processes):
        with StoreExecutor(ThreadPoolExecutor(1), Store(), ProxySize(1000)) as executor:
            sent = pickle.dumps(executor.submit(np.ones, LARGE).result())
        del executor
        gc.collect()
        assert processes.submit(total_of_pickled, sent).result(30) == LARGE

    @pytest.mark.parametrize("ownership", [True, False])
    def test_keep_the_store_open_until_it_is_closed(self, ownership):
        store = Store()
        with StoreExecutor(
            ThreadPoolExecutor(1), store, ProxySize(1000), ownership=ownership
        ) as executor:
            result = executor.submit(np.ones, LARGE).result()
            executor.shutdown()
        copy = pickle.loads(pickle.dumps(result))
        del result
        gc.collect()
        assert not store.closed
        assert total(copy) == LARGE
        store.close()
        assert store.closed

    @pytest.mark.slow
    def test_of_processes_do_so_though_nobody_waited(self, tmp_path):
        store = Store()
        pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        executor = StoreExecutor(pool, store, ProxySize(1000))
        begin = tmp_path / "begin"
        tasks = [executor.submit(ones_after, begin, LARGE) for _ in range(2)]
        executor.shutdown(wait=False)
        begin.touch()
        assert total(*(task.result(30) for task in tasks)) == 2 * LARGE
        (shutting,) = [each for each in threading.enumerate() if "shutdown" in each.name]
        shutting.join(30)
        assert total(*(task.result() for task in tasks)) == 2 * LARGE

    def test_do_so_though_nobody_waited(self):
        store, begin = Store(), threading.Event()
        executor = StoreExecutor(ThreadPoolExecutor(1), store, ProxySize(1000))
        task = executor.submit(lambda: (begin.wait(10), np.ones(LARGE))[1])
        executor.shutdown(wait=False)
        begin.set()
        assert total(task.result(10)) == LARGE
        assert not store.closed

    def test_that_are_small_let_it_be_closed_though_nobody_waited(self):
        store, begin, closing = Store(), threading.Event(), threading.Event()
        executor = StoreExecutor(ThreadPoolExecutor(1), store, ProxySize(1000))
        task = executor.submit(lambda _: begin.wait(10), np.ones(LARGE))
        task.add_done_callback(lambda _: closing.set())
        executor.shutdown(wait=False)
        assert not store.closed
        begin.set()
        assert closing.wait(10)
        executor.executor.shutdown()
        assert store.closed

    def test_that_do_not_go_by_store_leave_it_to_be_closed(self):
        store = Store()
        with StoreExecutor(ThreadPoolExecutor(1), store, ProxySize(1000)) as executor:
            task = executor.submit(total, np.ones(LARGE))
        assert store.closed
        assert task.result() == LARGE

    @pytest.mark.slow
    def test_that_live_to_the_end_leave_nothing_in_the_medium(self, run, tmp_path):
        process = run(
            f"""
from concurrent.futures import ThreadPoolExecutor
from proxystore.connectors.file import FileConnector
from proxystore.store import Store
from proxystore_patterns.executors import ProxyAlways, StoreExecutor
store = Store(FileConnector({str(tmp_path / "objects")!r}))
with StoreExecutor(ThreadPoolExecutor(1), store, ProxyAlways()) as executor:
    result = executor.submit(list, "abc").result()
say((list(result), store.closed))
"""
        )
        assert process.hear() == (["a", "b", "c"], False)
        assert process.wait() == 0
        assert not (tmp_path / "objects").exists()


class TestAfterShutdown:
    @pytest.mark.parametrize("close_store", [True, False])
    @pytest.mark.parametrize("argument", [None, np.ones(LARGE)], ids=["small", "large"])
    def test_tasks_are_refused_as_by_the_executor(self, counted, close_store, argument):
        executor = StoreExecutor(
            ThreadPoolExecutor(1), counted[0], ProxySize(1000), close_store=close_store
        )
        executor.shutdown()
        executor.shutdown()
        with pytest.raises(
            ExecutorShutDownError, match="Cannot schedule new futures after shutdown"
        ):
            executor.submit(total, argument)
        for chunksize in (1, 2):
            with pytest.raises(
                ExecutorShutDownError, match="Cannot schedule new futures after shutdown"
            ):
                executor.map(total, [argument] * 2, chunksize=chunksize)
        assert counted[0].closed is close_store
        assert close_store or counted[1]() == 0

    def test_an_error_in_closing_the_store_is_told(self):
        class Stubborn(LocalConnector):
            def close(self, clear=None):
                raise ProxyStoreError("no")

        executor = StoreExecutor(ThreadPoolExecutor(1), Store(Stubborn()), ProxyAlways())
        with pytest.raises(ProxyStoreError, match="no"):
            executor.shutdown()


class InAnotherProcess(Executor):
    """Does not show that it has processes."""

    def __init__(self, processes):
        self.processes = processes

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        future.set_running_or_notify_cancel()
        self.processes.submit(fn, *args, **kwargs).add_done_callback(
            lambda done: future.set_exception(done.exception() or AssertionError(done.result()))
        )
        return future


class TestStoresOfOneProcess:
    @pytest.fixture
    def local(self):
        with Store("local", LocalConnector()) as store:
            yield store

    def test_are_refused_for_a_process_pool(self, processes, local):
        with pytest.raises(CapabilityError, match="LocalConnector is not") as caught:
            StoreExecutor(processes, local, ProxyAlways())
        assert "cross-process" in str(caught.value)

    def test_are_refused_by_the_first_task_elsewhere(self, processes, local):
        executor = StoreExecutor(InAnotherProcess(processes), local, ProxyAlways())
        with pytest.raises(CapabilityError, match="LocalConnector is not"):
            executor.submit(np.ones, LARGE).result(10)

    def test_serve_threads(self, local):
        with StoreExecutor(ThreadPoolExecutor(1), local, ProxyAlways()) as executor:
            assert total(executor.submit(increase, np.ones(3)).result()) == 6
