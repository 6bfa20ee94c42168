"""Waiting for the tasks that carry objects here."""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from proxystore.errors import ClosedError, ConnectorUnavailableError
from proxystore.host.forks import remake_in_child
from proxystore_connectors_globus._errors import TransferFailedError
from proxystore_connectors_globus._service import Task, TransferService

__all__ = ["Arrivals"]

_REMEMBERED = 4096
_GROWTH = 1.5
_LONGEST = 16
_WEB = "https://app.globus.org/activity"


class Arrivals:
    """Which tasks have succeeded, as far as this process knows. Thread and fork safe.

    Threads that wait for one task share one poll of it. A task that has
    succeeded is not asked about again.

    Args:
        service: Whom to ask.
        polling_interval: Seconds to the second look; later ones come after longer and
            longer pauses, up to 16 times as long, all a little random.
        timeout: Seconds to wait for a task.
    """

    def __init__(self, service: TransferService, polling_interval: float, timeout: float) -> None:
        self._service = service
        self._interval, self._timeout = polling_interval, timeout
        self._arrived: OrderedDict[str, None] = OrderedDict()
        self._is_closed = False
        self.remade_in_child()
        remake_in_child(self)

    def remade_in_child(self) -> None:
        """Make the locks anew that threads of the parent may hold."""
        self._lock = threading.Lock()
        self._polled: dict[str, tuple[threading.Lock, int]] = {}
        self._closed = threading.Event()
        if self._is_closed:
            self._closed.set()

    def close(self) -> None:
        """End every wait with `ClosedError`."""
        self._is_closed = True
        self._closed.set()

    def has_arrived(self, task_id: str) -> bool:
        """Whether the task has succeeded. Costs a request while it has not.

        Raises:
            TransferFailedError: It never will.
            ConnectorUnavailableError: Globus did not answer.
        """
        return self._knows(task_id) or self._look(task_id).status == "SUCCEEDED"

    def wait(self, task_id: str) -> None:
        """Return when the task has succeeded.

        Raises:
            TransferFailedError: It never will.
            ConnectorUnavailableError: It has not within the timeout, or Globus did not answer.
            ClosedError: `close` was called meanwhile.
        """
        if self._knows(task_id):
            return
        deadline = time.monotonic() + self._timeout
        with self._service.operation(), self._polling(task_id, deadline):
            if not self._knows(task_id):
                self._poll(task_id, deadline)

    def _poll(self, task_id: str, deadline: float) -> None:
        pause = self._interval
        while True:
            task = self._look(task_id)
            if task.status == "SUCCEEDED":
                return
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise self._late(task_id, task)
            jitter = 0.75 + 0.5 * random.random()  # noqa: S311 - to spread requests
            if self._closed.wait(min(pause * jitter, remaining)):
                raise ClosedError("The connector")
            pause = min(pause * _GROWTH, self._interval * _LONGEST)

    def _look(self, task_id: str) -> Task:
        task = self._service.task(task_id)
        if task.status == "SUCCEEDED":
            with self._lock:
                self._arrived[task_id] = None
                while len(self._arrived) > _REMEMBERED:
                    self._arrived.popitem(last=False)
        elif task.status != "ACTIVE":
            raise _failed(task_id, task)
        return task

    def _knows(self, task_id: str) -> bool:
        with self._lock:
            return task_id in self._arrived

    @contextmanager
    def _polling(self, task_id: str, deadline: float) -> Iterator[None]:
        """Be the one thread that polls the task, as soon as no other does."""
        with self._lock:
            mine, users = self._polled.get(task_id, (threading.Lock(), 0))
            self._polled[task_id] = mine, users + 1
        try:
            if not mine.acquire(timeout=max(0.0, deadline - time.monotonic())):
                raise self._late(task_id, Task("ACTIVE", "another thread waits for it too"))
            try:
                yield
            finally:
                mine.release()
        finally:
            with self._lock:
                _, users = self._polled.pop(task_id)
                if users > 1:
                    self._polled[task_id] = mine, users - 1

    def _late(self, task_id: str, task: Task) -> ConnectorUnavailableError:
        reason = f" ({task.reason})" if task.reason else ""
        return ConnectorUnavailableError(
            f"an object on its way by Globus task {task_id}",
            f"it has not arrived within {self._timeout:g} s: the task is {task.status}{reason}",
            f"Try again, raise timeout, or see {_WEB}/{task_id}",
        )


def _failed(task_id: str, task: Task) -> TransferFailedError:
    reason = f": {task.reason}" if task.reason else ""
    return TransferFailedError(
        f"an object that came by Globus task {task_id}",
        f"the task is {task.status}{reason}",
        f"Remove the cause, and put the object again; see {_WEB}/{task_id}",
    )
