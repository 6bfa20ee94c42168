"""Stores that several processes reach, and those processes."""

from __future__ import annotations

import contextlib
import pickle
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxystore.proxy import get_factory
from proxystore.store import Store
from proxystore_patterns.errors import BaseRefProxyError

_PROGRAM = Path(__file__).with_name("peer_program.py")

FORGET = """
import gc
for name in set(globals()) - kept:
    del globals()[name]
gc.collect()
"""


class Peer:
    """Another process, which runs the Python that it is told to."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(_PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._awaited, self.stopped = 0, False

    def run(self, code: str, **variables: Any) -> Any:
        """What ``result`` is after ``code`` ran there.

        Raises:
            EOFError: The process died.
        """
        self.send(code, **variables)
        return self.receive()

    def send(self, code: str, **variables: Any) -> None:
        """Begin to run ``code`` there."""
        self._awaited += 1
        message = pickle.dumps((code, variables))
        self.process.stdin.write(struct.pack("!q", len(message)) + message)
        self.process.stdin.flush()

    def receive(self) -> Any:
        """What came of the code that was sent."""
        header = self.process.stdout.read(8)
        if not header:
            self.process.wait()
            raise EOFError("The process died.")
        self._awaited -= 1
        error, value = pickle.loads(self.process.stdout.read(*struct.unpack("!q", header)))
        if error is not None:
            raise error
        return value

    @property
    def is_usable(self) -> bool:
        """Whether it runs, and has answered all that it was told."""
        return self.process.poll() is None and not self._awaited and not self.stopped

    def end(self) -> None:
        """Leave nothing of it."""
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def leave(self) -> None:
        """Let it exit as any program does."""
        self.process.stdin.close()
        self.process.wait()


@pytest.fixture(scope="session")
def idle_peers() -> Iterator[list[Peer]]:
    """Processes that a test left as it found them: to start one takes longer than most tests."""
    idle: list[Peer] = []
    yield idle
    for peer in idle:
        peer.end()


@pytest.fixture
def start_peer(idle_peers: list[Peer]) -> Iterator[Callable[[], Peer]]:
    """Gives processes that hold nothing."""
    started: list[Peer] = []

    def start() -> Peer:
        started.append(idle_peers.pop() if idle_peers else Peer())
        return started[-1]

    yield start
    for peer in started:
        if peer.is_usable:
            peer.run(FORGET)
            idle_peers.append(peer)
        else:
            peer.end()


@pytest.fixture
def peer(start_peer: Callable[[], Peer]) -> Peer:
    """Another process."""
    return start_peer()


@pytest.fixture(params=["shm", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[Store[Any]]:
    """A store of each kind of medium that processes can share ownership by."""
    if request.param == "shm":
        made: Store[Any] = Store("owned")
    else:
        from proxystore_connectors_redis import RedisConnector

        place = request.getfixturevalue("redis_server").place
        made = Store("owned", RedisConnector(*place))
    with made:
        yield made


@pytest.fixture
def pass_time(store: Store[Any]) -> Callable[[float], None]:
    """Lets seconds pass, for what is promised after some time."""

    def pass_time(seconds: float) -> None:
        assert not store.wait(store.new_key(), seconds)

    return pass_time


@pytest.fixture
def eventually(pass_time: Callable[[float], None]) -> Callable[[Callable[[], object]], None]:
    """Waits until something is so, or raises no `BaseRefProxyError` any more."""

    def eventually(claim: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                if claim() is not False:
                    return
            except BaseRefProxyError:
                if time.monotonic() > deadline:
                    raise
            assert time.monotonic() < deadline
            pass_time(0.02)

    return eventually


@pytest.fixture
def is_stored(store: Store[Any]) -> Callable[[Any], bool]:
    """Whether the object of a proxy is in the store."""

    def is_stored(proxy: Any) -> bool:
        return store.exists(get_factory(proxy).estate.key)

    return is_stored


@pytest.fixture
def n_objects(store: Store[Any]) -> Callable[[], int]:
    """How many objects and records the medium holds."""

    def n_objects() -> int:
        connector = store.connector
        if hasattr(connector, "entries"):
            return len(list(connector.entries()))
        import redis

        config = connector.config()
        with redis.Redis("127.0.0.1", config["port"]) as client:
            return sum(1 for _ in client.scan_iter(f"ps:{config['namespace']}:*"))

    return n_objects
