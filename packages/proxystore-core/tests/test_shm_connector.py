"""`ShmConnector` keeps the contract, and small objects never tear, leak or come back."""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from proxystore.abc import Capability
from proxystore.connectors.shm import ShmConnector
from proxystore.errors import MediumGoneError
from proxystore.host import arrivals
from proxystore.testing import ConnectorContract


class TestShmContract(ConnectorContract):
    capabilities = frozenset({
        Capability.CROSS_PROCESS,
        Capability.DEFERRABLE,
        Capability.LEASABLE,
        Capability.RANGED,
        Capability.REPLACEABLE,
        Capability.WAITABLE,
    })

    @pytest.fixture
    def connector(self) -> Iterator[ShmConnector]:
        with ShmConnector() as connector:
            yield connector


@pytest.fixture
def connector() -> Iterator[ShmConnector]:
    with ShmConnector() as connector:
        yield connector


_SETTER = """
import sys, time
from proxystore.connectors.shm import ShmConnector, ShmKey
url, names, first = given
connector = ShmConnector.from_url(url)
result = []
for number, name in enumerate(names):
    # In turn: each waits for the answer to the one before.
    if number or not first:
        connector.wait(ShmKey(f"{name}-asked"))
    result.append(time.clock_gettime(time.CLOCK_MONOTONIC))
    connector.set(ShmKey(name), b"x" * number)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere waiting is looking")
def test_a_waiter_wakes_within_a_millisecond_of_a_set_in_another_process(
    connector: ShmConnector, run_python: Callable[..., Any]
) -> None:
    names = [f"n{number}" for number in range(40)]
    woken = []

    def wait() -> None:
        for name in names:
            connector.set(connector.new_key(f"{name}-asked"), b"")
            assert connector.wait(connector.new_key(name), 30)
            woken.append(time.clock_gettime(time.CLOCK_MONOTONIC))

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        began = run_python(_SETTER, (connector.url, names, False))
        waiting.result()
    # The quickest half: others use these processors too.
    delays = sorted(end - start for start, end in zip(began, woken, strict=True))
    assert statistics.median(delays[:20]) < 0.001


def test_a_hundred_waiters_need_one_thread(connector: ShmConnector) -> None:
    keys = [connector.new_key() for _ in range(100)]
    before = threading.active_count()
    with ThreadPoolExecutor(100) as pool:
        waiting = [pool.submit(connector.wait, key, 30) for key in keys]
        deadline = time.monotonic() + 30
        while len(arrivals._watcher._expected) < 100 and time.monotonic() < deadline:
            os.sched_yield()
        assert threading.active_count() <= before + 101
        for key in keys:
            connector.set(key, b"")
        assert all(each.result() for each in waiting)
    assert not arrivals._watcher._expected
    assert not arrivals._watcher._waiters


@pytest.mark.slow
def test_no_wake_up_is_lost(connector: ShmConnector) -> None:
    keys = [connector.new_key() for _ in range(2000)]
    with ThreadPoolExecutor(1) as pool:
        setting = pool.submit(lambda: [connector.set(key, b"") for key in keys])
        start = time.monotonic()
        assert all(connector.wait(key, 30) for key in keys)
        setting.result()
    # Each lost one would have cost a second.
    assert time.monotonic() - start < 20


def test_a_forked_child_can_wait(connector: ShmConnector) -> None:
    connector.wait(connector.new_key(), 0.01)
    key = connector.new_key()
    child = os.fork()
    if child == 0:
        os._exit(0 if connector.wait(key, 30) else 1)
    connector.set(key, b"")
    assert os.waitpid(child, 0)[1] == 0


def test_a_wait_ends_when_the_medium_does(connector: ShmConnector) -> None:
    other = ShmConnector.from_url(connector.url)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(other.wait, other.new_key(), 30)
        deadline = time.monotonic() + 30
        while not arrivals._watcher._expected and time.monotonic() < deadline:
            os.sched_yield()
        connector.close()
        with pytest.raises(MediumGoneError):
            waiting.result(30)


def test_where_the_system_does_not_tell_a_waiter_looks(
    connector: ShmConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(directory: int) -> int:
        raise OSError("too many watch already")

    monkeypatch.setattr(arrivals._watcher, "watch", refused)
    key = connector.new_key()
    assert not connector.wait(key, 0.02)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(connector.wait, key, 30)
        connector.set(key, b"")
        assert waiting.result(30)


@pytest.mark.slow
def test_without_free_descriptors_every_answer_is_ours(
    connector: ShmConnector, run_python: Callable[..., Any]
) -> None:
    code = """
import os, resource
from proxystore.connectors.shm import ShmConnector, ShmKey
from proxystore.errors import ProxyStoreError
connector = ShmConnector()
small, large = connector.put(b"small"), connector.put(b"x" * 300_000)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
result = []
for operation in (
    lambda: connector.get(small),
    lambda: connector.get(large),
    lambda: connector.put(b"z"),
    lambda: connector.put(b"z" * 3000),
    lambda: connector.put(b"z" * 300_000),
    lambda: connector.replace(large, b"1"),
    lambda: connector.wait(connector.new_key(), 0.01),
    lambda: connector.gc(),
    lambda: connector.evict(small),
    lambda: connector.evict(large),
):
    try:
        operation()
    except ProxyStoreError as error:
        result.append(str(error))
for fd in taken:
    os.close(fd)
assert connector.get(small) is None
assert connector.get(large) is None
assert connector.get(connector.put(b"again")) == b"again"
connector.close()
"""
    assert all("Too many open files" in message for message in run_python(code))
