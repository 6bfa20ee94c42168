"""`StoreExecutor` over pools of threads and of processes."""

import gc
import operator
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import numpy as np
import pytest
from executor_tasks import (
    die,
    fail,
    identity,
    in_a_pair,
    increase,
    increased_in_a_dict,
    is_proxy,
    nothing,
    ones_by_store,
    three,
    total,
    true,
    zeros,
)

from proxystore.errors import SerializationError
from proxystore.proxy import Proxy, extract, get_factory, is_resolved
from proxystore.store import Store, get_key
from proxystore_patterns.errors import StillBorrowedError
from proxystore_patterns.executors import ProxyAlways, ProxySize, ProxyType, StoreExecutor, proxied
from proxystore_patterns.futures import future
from proxystore_patterns.ownership import OwnedProxy, drop, own

LARGE = 10_000


@pytest.fixture(params=["threads", "processes"])
def pool(request, processes):
    if request.param == "processes":
        yield processes
    else:
        with ThreadPoolExecutor(2) as threads:
            yield threads


@pytest.mark.slow
class TestEveryPool:
    def test_large_arguments_are_proxies_and_small_ones_are_not(self, pool, over):
        task = over(pool).submit(is_proxy, zeros(LARGE), 1, large=zeros(LARGE), small="a")
        assert task.result() == [True, False, True, False]

    def test_functions_get_what_was_given(self, pool, over):
        assert over(pool).submit(total, np.ones(LARGE), np.ones(10)).result() == LARGE + 10

    def test_arguments_are_evicted_when_their_task_has_ended(self, pool, over, counted):
        assert over(pool).submit(total, np.ones(LARGE)).result() == LARGE
        assert counted[1]() == 0

    def test_arguments_of_tasks_that_fail_are_evicted(self, pool, over, counted):
        with pytest.raises(ValueError, match="a task that fails"):
            over(pool).submit(fail, np.ones(LARGE)).result()
        assert counted[1]() == 0

    def test_results_are_owned_and_go_with_their_last_reference(self, pool, over, counted):
        result = over(pool).submit(zeros, LARGE).result()
        assert type(result).__mro__[1] is OwnedProxy or isinstance(result, OwnedProxy)
        assert result.shape == (LARGE,)
        assert counted[1]() == 1
        del result
        assert counted[1]() == 0

    def test_results_nobody_asked_for_go_with_their_future(self, pool, over, counted):
        task = over(pool).submit(zeros, LARGE)
        assert task.exception() is None
        assert counted[1]() == 1
        del task
        assert counted[1]() == 0

    def test_an_argument_can_be_the_result(self, pool, over, counted):
        result = over(pool).submit(identity, np.ones(LARGE)).result()
        assert result.sum() == LARGE
        del result
        assert counted[1]() == 0

    def test_an_argument_can_be_changed_and_returned(self, pool, over):
        assert over(pool).submit(increase, np.ones(LARGE)).result().sum() == 2 * LARGE

    def test_an_argument_can_be_in_a_result_of_any_type(self, pool, over):
        assert np.sum(over(pool).submit(in_a_pair, np.ones(LARGE)).result().first) == LARGE

    def test_a_changed_argument_can_be_in_a_result_that_is_not_looked_into(self, pool, over):
        result = over(pool).submit(increased_in_a_dict, np.ones(LARGE)).result()
        assert np.sum(result["a"]) == 2 * LARGE

    def test_containers_are_looked_into_as_deep_as_wanted(self, pool, over, counted):
        executor = over(pool, ProxyType(np.ndarray), depth=1)
        result = executor.submit(three, 5).result()
        assert isinstance(result["large"], OwnedProxy)
        assert type(result["deep"][0]) is np.ndarray
        assert result["small"] == 5
        given = {"a": np.ones(LARGE), "b": 1}
        assert executor.submit(operator.itemgetter("a"), given).result().sum() == LARGE
        assert type(given["a"]) is np.ndarray
        del result
        assert counted[1]() == 0

    def test_map_gives_items_by_store_and_in_order(self, pool, over, counted):
        items = [np.full(LARGE, n) for n in range(5)]
        assert [*over(pool).map(total, items)] == [LARGE * n for n in range(5)]
        assert all(proxied for (proxied,) in over(pool).map(is_proxy, items))
        assert counted[1]() == 0

    @pytest.mark.parametrize("n", [0, 1, 5])
    def test_map_in_chunks_gives_the_same(self, pool, over, counted, n):
        items = [np.full(LARGE, each) for each in range(n)]
        results = [*over(pool).map(increase, items, chunksize=2)]
        assert [int(each[0]) for each in results] == [each + 1 for each in range(n)]
        assert all(isinstance(each, OwnedProxy) for each in results)
        assert counted[1]() == n
        results.clear()
        assert counted[1]() == 0

    def test_none_and_bools_stay_what_they_are(self, pool, over):
        executor = over(pool, ProxyAlways())
        assert executor.submit(nothing, None).result() is None
        assert executor.submit(true, True).result() is True
        assert executor.submit(is_proxy, None, True, 1).result() == [False, False, True]

    def test_proxies_of_the_user_come_back_untouched(self, pool, over, counted):
        mine = counted[0].proxy(np.ones(LARGE))
        result = over(pool).submit(identity, mine).result()
        assert type(result) is type(mine)
        assert get_key(result) == get_key(mine)
        assert counted[1]() == 1

    def test_a_result_can_be_given_to_many_tasks(self, pool, over, counted):
        executor = over(pool)
        result = executor.submit(np.ones, LARGE).result()
        assert [executor.submit(total, result, result).result() for _ in range(2)] == [
            2 * LARGE
        ] * 2
        assert executor.submit(increase, result).result().sum() == 2 * LARGE
        assert result.sum() == LARGE
        del result
        assert counted[1]() == 0

    def test_an_owned_argument_is_borrowed_until_its_task_ends(self, pool, over, counted):
        owned = own(counted[0], np.ones(LARGE))
        stuck = Stuck()
        executor = over(stuck)
        task = executor.submit(total, owned)
        with pytest.raises(StillBorrowedError):
            drop(owned)
        stuck.futures[0].set_result(1)
        assert task.result() == 1
        drop(owned)
        assert counted[1]() == 0

    def test_results_that_are_not_to_be_owned_stay(self, pool, over, counted):
        result = over(pool, ownership=False).submit(zeros, LARGE).result()
        assert type(result) is not OwnedProxy
        assert result.shape == (LARGE,)
        key = get_key(result)
        del result
        gc.collect()
        assert counted[1]() == 1
        counted[0].evict(key)


@pytest.mark.slow
def test_a_decorated_function_gives_its_result_by_store(processes, counted):
    result = processes.submit(ones_by_store, counted[0].reference, LARGE).result()
    assert isinstance(result, Proxy)
    assert result.sum() == LARGE
    assert proxied(counted[0], ProxySize(1000))(zeros)(2).sum() == 0
    assert proxied(counted[0], ProxySize(1000))(zeros).__name__ == "zeros"


class Stuck(Executor):
    """An executor whose tasks end when the test says so."""

    def __init__(self):
        self.futures = []

    def submit(self, fn, /, *args, **kwargs):
        self.futures.append(Future())
        return self.futures[-1]

    def shutdown(self, wait=True, *, cancel_futures=False):
        pass


class Keeping(ThreadPoolExecutor):
    """An executor that keeps its futures when they are done, as engines do."""

    def submit(self, fn, /, *args, **kwargs):
        self.kept = super().submit(fn, *args, **kwargs)
        return self.kept


class Refusing(Executor):
    def submit(self, fn, /, *args, **kwargs):
        raise RuntimeError("shut down")


class TestEnds:
    def test_engines_that_keep_futures_keep_no_results(self, over, counted):
        with Keeping(1) as keeping:
            assert over(keeping).submit(zeros, LARGE).result().shape == (LARGE,)
        assert keeping.kept.done()
        assert counted[1]() == 0

    def test_arguments_of_cancelled_tasks_are_evicted(self, over, counted):
        task = over(Stuck()).submit(total, np.ones(LARGE))
        assert counted[1]() == 1
        assert task.cancel()
        assert task.cancelled()
        assert not task.running()
        assert counted[1]() == 0

    def test_arguments_are_evicted_if_the_executor_refuses(self, over, counted):
        with pytest.raises(RuntimeError, match="shut down"):
            over(Refusing()).submit(total, np.ones(LARGE), other=np.ones(LARGE))
        assert counted[1]() == 0

    def test_arguments_are_evicted_if_one_of_them_cannot_be_stored(self, over, counted):
        with pytest.raises(SerializationError):
            over(Stuck(), ProxyAlways()).submit(total, np.ones(LARGE), threading.Lock())
        assert counted[1]() == 0

    @pytest.mark.slow
    def test_killed_workers_leave_nothing(self, over, counted):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            executor = over(pool)
            tasks = [executor.submit(die, np.ones(LARGE)) for _ in range(3)]
            for task in tasks:
                with pytest.raises(BrokenProcessPool):
                    task.result()
            with pytest.raises(BrokenProcessPool):
                executor.submit(total, np.ones(LARGE))
        assert counted[1]() == 0

    def test_the_store_is_closed_when_the_last_task_has_ended(self):
        stuck, store = Stuck(), Store()
        executor = StoreExecutor(stuck, store, ProxySize(1000))
        tasks = [executor.submit(total, np.ones(LARGE)) for _ in range(2)]
        executor.shutdown(wait=False)
        assert not store.closed
        stuck.futures[0].set_result(1)
        assert not store.closed
        stuck.futures[1].set_exception(ValueError())
        assert store.closed
        assert tasks[0].result() == 1

    def test_the_store_stays_open_if_wanted(self, counted):
        with StoreExecutor(Stuck(), counted[0], ProxySize(1000), close_store=False):
            pass
        assert not counted[0].closed

    def test_errors_of_landing_reach_who_waits(self, over, counted):
        with ThreadPoolExecutor(1) as pool:
            executor = over(pool)
            store, stuck = counted[0], threading.Event()
            task = executor.submit(lambda: (stuck.wait(10), zeros(LARGE))[1])
            task.add_done_callback(lambda _: None)
            stuck.set()
            assert task.result(10).shape == (LARGE,)
            assert store.closed is False

    def test_what_cannot_submit_is_refused(self, counted):
        with pytest.raises(TypeError, match=r"A dict has no submit\(\)"):
            StoreExecutor({}, counted[0])

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"store": None}, "StoreExecutor takes a Store, .*, not None"),
            ({"should_proxy": 100_000}, r"should_proxy=\) takes a policy .*, not 100000"),
            ({"should_proxy": lambda _: True}, r"should_proxy=\) takes a policy that pickles"),
            ({"depth": "x"}, r"depth=\) takes a whole number of at least 0, not 'x'"),
        ],
    )
    def test_what_it_cannot_work_with_is_refused(self, counted, given, said):
        with ThreadPoolExecutor(1) as pool, pytest.raises(TypeError, match=said):
            StoreExecutor(pool, **{"store": counted[0], **given})

    def test_what_cannot_be_closed_is_left_with_a_warning(self, counted):
        class Bare:
            submit = print

        with pytest.warns(RuntimeWarning, match="Bare can neither shut down nor close"):
            StoreExecutor(Bare(), counted[0], close_store=False).shutdown()

    def test_nothing_is_proxied_by_default(self, counted):
        with ThreadPoolExecutor(1) as pool:
            executor = StoreExecutor(pool, counted[0], close_store=False)
            assert executor.submit(is_proxy, np.ones(LARGE)).result() == [False]
            assert [*executor.map(is_proxy, [np.ones(LARGE)])] == [[False]]

    def test_map_cancels_the_rest_when_one_fails(self, over, counted):
        stuck = Stuck()
        results = over(stuck).map(total, [np.ones(LARGE)] * 4, chunksize=2)
        stuck.futures[0].set_exception(ValueError("first"))
        with pytest.raises(ValueError, match="first"):
            next(results)
        assert stuck.futures[1].cancelled()
        assert counted[1]() == 0

    def test_map_ends_after_its_timeout(self, over, counted):
        with pytest.raises(TimeoutError):
            next(over(Stuck()).map(total, [np.ones(LARGE)] * 2, chunksize=2, timeout=0.01))
        assert counted[1]() == 0

    def test_a_chunk_has_a_call_at_least(self, over):
        with pytest.raises(ValueError, match="chunksize=0"):
            over(Stuck()).map(total, [1], chunksize=0)


def test_the_process_that_submits_does_not_load_what_it_passes_on(processes, over):
    executor = over(processes)
    first = executor.submit(np.ones, LARGE).result()
    assert executor.submit(total, first).result() == LARGE
    assert not is_resolved(first)
    assert extract(first).sum() == LARGE
    assert get_factory(first).estate.key


def test_a_proxy_of_a_result_to_come_is_passed_on_unresolved() -> None:
    with StoreExecutor(ThreadPoolExecutor(2), Store("demo"), ProxySize(1)) as executor:
        coming = future(executor.store)
        total = executor.submit(sum, coming.proxy(timeout=60))
        coming.set_result([1, 2, 3])
        assert total.result(60) == 6


def test_small_results_of_a_store_that_carries_them_are_owned_too() -> None:
    with StoreExecutor(
        ThreadPoolExecutor(1), Store("demo", inline_nbytes=4096), ProxyAlways()
    ) as executor:
        assert executor.submit(operator.mul, [1], 2).result(60) == [1, 1]
