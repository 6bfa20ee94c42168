"""What tasks get, for how long, and what remains of it."""

import gc
import weakref
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from executor_tasks import append, drop_kept, identity, keep, kept_total, memory_nbytes, total

from proxystore_patterns.executors import ProxyAlways

LARGE = 10_000


@pytest.fixture
def one():
    """A pool whose tasks all run in the same process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


_STATM = Path("/proc/self/statm")


@pytest.mark.slow
class TestInOneProcess:
    def test_what_a_function_keeps_outlives_its_task(self, one, over, counted):
        executor = over(one, depth=1)
        executor.submit(keep, np.ones(LARGE)).result()
        executor.submit(keep, [np.ones(LARGE)]).result()
        assert counted[1]() == 0
        assert executor.submit(kept_total).result() == 2 * LARGE

    @pytest.mark.skipif(not _STATM.exists(), reason="needs /proc to tell how much memory is held")
    def test_memory_of_arguments_goes_with_their_tasks(self, one, over):
        executor = over(one)
        before = executor.submit(memory_nbytes).result()
        for kind in (lambda n: np.ones(n), lambda n: list(range(n)), lambda n: b"x" * 8 * n):
            for _ in range(5):
                executor.submit(len, kind(1_000_000)).result()
            grown = executor.submit(memory_nbytes).result() - before
            assert grown < 30_000_000

    @pytest.mark.skipif(not _STATM.exists(), reason="needs /proc to tell how much memory is held")
    def test_memory_of_what_was_kept_goes_when_it_is_dropped(self, one, over):
        executor = over(one)
        before = executor.submit(memory_nbytes).result()
        for _ in range(10):
            executor.submit(keep, np.ones(1_000_000)).result()
        executor.submit(drop_kept).result()
        assert executor.submit(memory_nbytes).result() - before < 30_000_000

    def test_tasks_given_one_result_do_not_see_each_others_changes(self, one, over):
        executor = over(one, ProxyAlways())
        result = executor.submit(identity, [0]).result()
        assert [int(executor.submit(append, result).result()) for _ in range(3)] == [2, 2, 2]


def test_nothing_of_a_task_is_kept_here(processes, over):
    executor = over(processes)
    argument = np.ones(LARGE)
    kept = weakref.ref(argument)
    task = executor.submit(total, argument)
    assert task.result() == LARGE
    # The pool has let go of its own when it gives the next one out.
    assert executor.submit(total, 1).result() == 1
    del argument
    gc.collect()
    assert kept() is None


class TestFutures:
    def test_a_function_in_a_thread_can_wait_for_another_task(self, over, counted):
        with ThreadPoolExecutor(2) as pool:
            executor = over(pool)
            made = executor.submit(np.ones, LARGE)
            assert executor.submit(lambda task: total(task.result(10)), made).result() == LARGE
            del made
            assert counted[1]() == 0

    @pytest.mark.parametrize("is_done", [False, True])
    def test_a_process_is_not_given_what_it_cannot_wait_for(
        self, processes, over, counted, is_done
    ):
        executor = over(processes)
        made = executor.submit(np.ones, LARGE)
        if is_done:
            made.result()
        with pytest.raises(TypeError, match=r"Give its result: future.result\(\)"):
            executor.submit(total, made).result()
        assert executor.submit(total, made.result()).result() == LARGE
        del made
        gc.collect()
        assert counted[1]() == 0
