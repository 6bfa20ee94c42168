"""Ray: its tasks as an executor, under `StoreExecutor`."""

import numpy as np
import pytest
from executor_tasks import LARGE, fail, increase, is_proxy, total

from proxystore_patterns.errors import ExecutorShutDownError
from proxystore_patterns.executors import ProxySize, StoreExecutor
from proxystore_patterns.ownership import OwnedProxy

ray = pytest.importorskip("ray", reason="needs the extra ray")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        object_store_memory=100_000_000,
    )
    yield
    ray.shutdown()


@pytest.fixture
def plain():
    from proxystore_patterns.executors.ray import RayExecutor

    with RayExecutor(num_cpus=1, max_retries=0) as executor:
        yield executor


@pytest.fixture
def executor(plain, counted):
    return StoreExecutor(plain, counted[0], ProxySize(10_000), close_store=False)


def test_arguments_and_results_go_by_store(executor, counted):
    assert executor.submit(is_proxy, np.ones(LARGE), 1).result() == [True, False]
    result = executor.submit(increase, np.ones(LARGE)).result()
    assert isinstance(result, OwnedProxy)
    assert [*executor.map(total, [result, np.ones(LARGE)])] == [2 * LARGE, LARGE]
    del result
    assert counted[1]() == 0


def test_tasks_that_fail_leave_nothing(executor, counted):
    with pytest.raises(ValueError, match="a task that fails"):
        executor.submit(fail, np.ones(LARGE)).result()
    assert counted[1]() == 0


def test_references_are_given_as_what_they_refer_to(plain):
    assert plain.submit(total, ray.put(np.ones(3))).result() == 3


def test_a_future_cannot_be_cancelled_once_submitted(plain):
    task = plain.submit(total, 1)
    assert not task.cancel()
    assert task.result() == 1


def test_nothing_is_submitted_after_shutdown(plain):
    task = plain.submit(total, 1)
    plain.shutdown(cancel_futures=False)
    assert task.done()
    with pytest.raises(ExecutorShutDownError):
        plain.submit(total, 1)
