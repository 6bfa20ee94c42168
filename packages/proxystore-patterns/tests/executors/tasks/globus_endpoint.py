"""An endpoint of Globus Compute without the web service: all else of it is the real thing."""

import os
import tempfile
import uuid
from concurrent.futures import Executor, Future

from globus_compute_common import messagepack
from globus_compute_common.messagepack.message_types import Task
from globus_compute_endpoint import engines
from globus_compute_endpoint.engines.base import GCFuture
from globus_compute_sdk.serialize import ComputeSerializer


class Endpoint(Executor):
    """Stands for the SDK's ``Executor`` and for the service, with an engine in this process.

    Real: the SDK's serializer, the endpoint's messages, its engine with the processes or
    threads of that, its worker function, and its limit on results. Not there: the service
    between the two, with its queues and its own limits.
    """

    def __init__(self, kind="ThreadPoolEngine"):
        self.engine = getattr(engines, kind)(max_workers=1)
        # Where threads run tasks, the engine moves the whole process.
        self.before, self.folder = os.getcwd(), tempfile.TemporaryDirectory()
        self.engine.start(endpoint_id=uuid.uuid4(), run_dir=self.folder.name)
        self.serializer, self.largest = ComputeSerializer(), 0

    def submit(self, fn, /, *args, **kwargs):
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
        os.chdir(self.before)
        self.folder.cleanup()
