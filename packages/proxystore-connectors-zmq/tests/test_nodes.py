"""Several nodes: each has its own store process, and all end with the owner's."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxystore.errors import ConnectorUnavailableError
from proxystore.serving import Announcement, Place
from proxystore.store import Store
from proxystore_connectors_zmq import ZMQConnector

Eventually = Callable[[Callable[[], object]], bool]
IsAlive = Callable[[int], bool]


@pytest.fixture
def elsewhere(
    networked: ZMQConnector, other_runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ZMQConnector]:
    """A connector to the namespace of `networked`, on another node."""
    with monkeypatch.context() as patch:
        patch.setenv("PROXYSTORE_RUNTIME_DIR", str(other_runtime))
        connector = ZMQConnector.from_config(networked.config())
    with connector:
        yield connector


@pytest.fixture
def satellite(elsewhere: ZMQConnector) -> Announcement:
    """The store process of the other node."""
    found = elsewhere._processes.start()
    assert found is not None
    return found


def test_each_node_keeps_what_is_put_there(
    networked: ZMQConnector, elsewhere: ZMQConnector, satellite: Announcement
) -> None:
    near, far = networked.put(b"near"), elsewhere.put(b"far")
    assert far.where == f"{satellite.instance}@{satellite.address}"
    assert near.where != far.where
    for connector in (networked, elsewhere):
        found = connector.get_batch([near, far, near])
        assert [b"near", b"far", b"near"] == [bytes(each or b"") for each in found]
    networked.evict(far)
    assert not elsewhere.exists(far)


def test_a_wait_on_another_node_is_pushed(
    networked: ZMQConnector, elsewhere: ZMQConnector
) -> None:
    key = networked.new_key("awaited")
    assert key == elsewhere.new_key("awaited")
    assert not elsewhere.wait(key, timeout=0.05)
    elsewhere.set(key, b"x")
    assert networked.wait(key, timeout=10)
    assert elsewhere.wait(key, timeout=10)


def test_all_store_processes_end_when_the_owner_closes(
    networked: ZMQConnector, satellite: Announcement, eventually: Eventually, is_alive: IsAlive
) -> None:
    networked.close()
    assert eventually(lambda: not is_alive(satellite.pid))


@pytest.mark.slow
def test_a_store_process_goes_on_while_its_home_is_there(
    networked: ZMQConnector, elsewhere: ZMQConnector, satellite: Announcement
) -> None:
    key = elsewhere.put(b"x")
    with ZMQConnector.from_config(networked.config()) as another:
        # Longer than the first looks for the home take.
        assert not another.wait(another.new_key("never"), timeout=2.5)
    assert b"x" == bytes(networked.get(key) or b"")


def test_closing_elsewhere_ends_nothing(
    networked: ZMQConnector, elsewhere: ZMQConnector, satellite: Announcement, is_alive: IsAlive
) -> None:
    key = elsewhere.put(b"x")
    elsewhere.close()
    assert is_alive(satellite.pid)
    assert networked.exists(key)


def test_objects_of_a_killed_process_of_another_node_cannot_be_had(
    networked: ZMQConnector, elsewhere: ZMQConnector, satellite: Announcement
) -> None:
    key = elsewhere.put(b"lost")
    assert networked.exists(key)
    os.kill(satellite.pid, signal.SIGKILL)
    with pytest.raises(ConnectorUnavailableError, match=satellite.address):
        networked.get(key)
    assert b"new" == bytes(networked.get(elsewhere.put(b"new")) or b"")


CHILD = """
import pickle, sys
proxy = pickle.load(sys.stdin.buffer)
print(sum(proxy))
"""


@pytest.mark.slow
def test_a_proxy_resolves_in_a_process_on_another_node(
    networked: ZMQConnector, other_node: dict[str, str]
) -> None:
    with Store("results", networked) as store:
        wire = pickle.dumps(store.proxy(list(range(1000)), populate_target=False))
        done = subprocess.run(
            [sys.executable, "-c", CHILD],
            input=wire,
            env=other_node,
            capture_output=True,
            timeout=60,
            check=True,
        )
    assert sum(range(1000)) == int(done.stdout)


OWNER = """
import sys
from proxystore_connectors_zmq import ZMQConnector
connector = ZMQConnector(address="127.0.0.1")
connector.put(b"x")
print(connector.url, flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_all_store_processes_end_when_the_owner_is_killed(
    other_runtime: Path,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Eventually,
    is_alive: IsAlive,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        url = owner.stdout.readline().strip()
        with monkeypatch.context() as patch:
            patch.setenv("PROXYSTORE_RUNTIME_DIR", str(other_runtime))
            elsewhere = ZMQConnector.from_url(url)
        elsewhere.put(b"x")
        namespace = elsewhere.config()["namespace"]
        found: list[Any] = [Place("zmq", namespace).announced(), elsewhere._processes.start()]
        owner.kill()
    assert all(eventually(lambda pid=each.pid: not is_alive(pid)) for each in found)
    with pytest.raises(ConnectorUnavailableError):
        elsewhere.put(b"y")
    elsewhere.close()
