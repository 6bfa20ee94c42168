"""Globus Compute: `StoreExecutor` over the engines of an endpoint, without the web service.

The tasks go through the SDK's serialization, the endpoint's messages, its worker function and
its limit on payloads, in a pool of threads and in one of processes. What is left out is the
service between the two.
"""

import uuid
from concurrent.futures import Executor, Future

import numpy as np
import pytest
from executor_tasks import fail, is_proxy, total

from proxystore_patterns.executors import ProxySize, StoreExecutor

pytest.importorskip("globus_compute_endpoint", reason="needs globus-compute-endpoint")

pytestmark = pytest.mark.slow

# The service takes 10 MB.
TOO_LARGE = 2_000_000


class Endpoint(Executor):
    """Does what the SDK's ``Executor`` and the service do, with an engine in this process."""

    def __init__(self, engine):
        from globus_compute_sdk.serialize import ComputeSerializer

        self.engine, self.serializer, self.largest = engine, ComputeSerializer(), 0

    def submit(self, fn, /, *args, **kwargs):
        from globus_compute_common import messagepack
        from globus_compute_common.messagepack.message_types import Task
        from globus_compute_endpoint.engines.base import GCFuture

        parts = [self.serializer.serialize(each) for each in (fn, args, kwargs)]
        packed = self.serializer.pack_buffers(parts)
        self.largest = max(self.largest, len(packed))
        task = GCFuture(gc_task_id=uuid.uuid4())
        message = messagepack.pack(Task(task_id=task.gc_task_id, task_buffer=packed))
        self.engine.submit(task, message, {})
        future = Future()

        def land(task):
            result = messagepack.unpack(task.result())
            if result.error_details:
                future.set_exception(RuntimeError(result.data))
            else:
                self.largest = max(self.largest, len(result.data))
                future.set_result(self.serializer.deserialize(result.data))

        task.add_done_callback(land)
        return future

    def shutdown(self, wait=True, *, cancel_futures=False):
        self.engine.shutdown(block=wait)


@pytest.fixture(scope="module", params=["ThreadPoolEngine", "ProcessPoolEngine"])
def endpoint(request, tmp_path_factory):
    from globus_compute_endpoint import engines

    engine = getattr(engines, request.param)(max_workers=1)
    engine.start(endpoint_id=uuid.uuid4(), run_dir=str(tmp_path_factory.mktemp("endpoint")))
    with Endpoint(engine) as endpoint:
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
