"""Globus Compute: `StoreExecutor` over the engines of an endpoint, without the web service.

What of it is real says `globus_endpoint.Endpoint`, and each test's id.
"""

import numpy as np
import pytest
from executor_tasks import fail, is_proxy, total

from proxystore_patterns.executors import ProxySize, StoreExecutor

pytest.importorskip("globus_compute_endpoint", reason="needs globus-compute-endpoint")

pytestmark = pytest.mark.slow

# The service takes 10 MB.
TOO_LARGE = 2_000_000


@pytest.fixture(
    scope="module",
    params=["ThreadPoolEngine", "ProcessPoolEngine"],
    ids=lambda engine: f"real-SDK-and-{engine}-no-web-service",
)
def endpoint(request):
    from globus_endpoint import Endpoint

    with Endpoint(request.param) as endpoint:
        yield endpoint


@pytest.fixture
def executor(endpoint, counted):
    return StoreExecutor(endpoint, counted[0], ProxySize(10_000), close_store=False)


def test_the_limit_on_payloads_does_not_matter(executor, endpoint, counted):
    with pytest.raises(RuntimeError, match="MaxResultSizeExceeded"):
        endpoint.submit(np.ones, TOO_LARGE).result()
    endpoint.largest = 0
    result = executor.submit(np.ones, TOO_LARGE).result()
    assert result.sum() == TOO_LARGE
    assert executor.submit(total, result, np.ones(TOO_LARGE)).result() == 2 * TOO_LARGE
    assert endpoint.largest < 5_000
    del result
    assert counted[1]() == 0


def test_small_arguments_stay_what_they_are(executor):
    assert executor.submit(is_proxy, np.ones(TOO_LARGE), 1, a="b").result() == [True, False, False]


def test_tasks_that_fail_leave_nothing(executor, counted):
    with pytest.raises(RuntimeError, match="a task that fails"):
        executor.submit(fail, np.ones(TOO_LARGE)).result()
    assert counted[1]() == 0
