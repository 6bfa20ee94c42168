"""Many threads, interrupts and forks: each gets its own answers, and no connection is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from proxystore.errors import ConnectorUnavailableError
from proxystore_connectors_redis import RedisConnector

_LARGE = 3_000_000


def _pattern(nbytes: int) -> bytes:
    return (bytes(range(251)) * (nbytes // 251 + 1))[:nbytes]


@pytest.mark.slow
def test_of_150_threads_none_is_lost(start_server: Callable[..., Any]) -> None:
    server = start_server()
    together = threading.Barrier(150, timeout=60)
    with RedisConnector("127.0.0.1", server.port) as connector, server.client() as client:

        def work(number: int) -> bool:
            together.wait()
            key = connector.put(_pattern(100_000 + number))
            return bytes(connector.get(key) or b"") == _pattern(100_000 + number)

        with ThreadPoolExecutor(150) as pool:
            assert all(pool.map(work, range(150)))
        assert len(client.client_list()) <= 64 + 1


@pytest.mark.slow
def test_a_pool_whose_connections_are_all_stuck_is_an_error(
    start_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxystore_connectors_redis._pool._LIMIT", 2)
    server = start_server()
    connector = RedisConnector("127.0.0.1", server.port, timeout=0.3)
    key = connector.put(b"x")
    server.stop_for_a_while()
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(connector.get, key) for _ in range(6)]
    assert {type(call.exception()) for call in calls} == {ConnectorUnavailableError}
    server.go_on()
    assert bytes(connector.get(key) or b"") == b"x"
    connector.close()


def test_other_clients_are_undisturbed_by_one_that_ends_midway(
    connector: RedisConnector, server: Any
) -> None:
    key = connector.put(_pattern(_LARGE))
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port)) as rude:
            rude.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$100000\r\nhalf")
            assert bytes(connector.get(key) or b"") == _pattern(_LARGE)


@pytest.mark.slow
def test_what_is_replaced_while_it_is_read_is_read_again(connector: RedisConnector) -> None:
    sizes = (_LARGE, 2 * _LARGE, 5)
    key = connector.put(_pattern(_LARGE))
    done = threading.Event()

    def replace_often() -> None:
        number = 0
        while not done.is_set():
            number += 1
            connector.replace(key, bytes([number % 251]) * sizes[number % 3])

    connector.replace(key, bytes(_LARGE))
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(replace_often)
        try:
            for _ in range(60):
                found = bytes(connector.get(key) or b"")
                assert len(found) in sizes
                assert found == found[:1] * len(found)
        finally:
            done.set()
        writing.result()


def test_an_interrupted_request_leaves_no_answer_for_the_next(connector: RedisConnector) -> None:
    key, other = connector.put(_pattern(_LARGE)), connector.put(b"other")
    for delay_ms in range(6):
        timer = threading.Timer(delay_ms / 1000, signal.raise_signal, (signal.SIGALRM,))

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        previous = signal.signal(signal.SIGALRM, interrupt)
        try:
            timer.start()
            while True:
                connector.get(key)
        except KeyboardInterrupt:
            pass
        finally:
            signal.signal(signal.SIGALRM, previous)
        timer.join()
        assert bytes(connector.get(other) or b"") == b"other"


def test_an_interrupt_between_any_two_steps_loses_no_connection(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxystore_connectors_redis._pool._LIMIT", 1)
    with RedisConnector("127.0.0.1", server.port, timeout=5) as connector:
        key = connector.put(b"x")
        for fresh in (False, True):
            steps = 0
            while _interrupted(lambda: connector.exists(key), steps, fresh, connector):
                steps += 1
                # Of the one that there may be, none is missing.
                assert connector.exists(key)
            assert steps > 5


def _interrupted(
    call: Callable[[], object], after: int, fresh: bool, connector: RedisConnector
) -> bool:
    """Whether ``call`` was interrupted, ``after`` so many steps in the pool."""
    if fresh:
        connector._attachment._pool._drop_idle()
    left = after

    def step(frame: FrameType, event: str, _: object) -> None:
        nonlocal left
        # Signals are handled where a function begins, and where a call of any kind has ended.
        at_one = event in {"call", "return", "c_return"}
        if at_one and frame.f_code.co_filename.endswith("_pool.py"):
            left -= 1
            if left < 0:
                sys.setprofile(None)
                raise KeyboardInterrupt

    sys.setprofile(step)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def test_an_answer_that_nobody_asked_for_is_taken_for_no_other(
    connector: RedisConnector, server: Any
) -> None:
    key, unasked = connector.put(b"x"), b":1\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                client, _ = listener.accept()
                with client, socket.create_connection(("127.0.0.1", server.port)) as behind:
                    while request := client.recv(65536):
                        behind.sendall(request)
                        more = unasked if b"GETRANGE" in request else b""
                        client.sendall(behind.recv(65536) + more)

        threading.Thread(target=_until_closed, args=(serve,), daemon=True).start()
        config = {**connector.config(), "port": listener.getsockname()[1]}
        with RedisConnector.from_config(config) as other:
            connector.evict(key)
            for _ in range(3):
                assert other.get(key) is None
                assert other.exists(key) is False


def _until_closed(serve: Callable[[], None]) -> None:
    with contextlib.suppress(OSError):
        serve()


# 3.12 warns of threads; connectors must survive exactly this.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_in_the_midst_of_others_requests_goes_on(connector: RedisConnector) -> None:
    key = connector.put(b"x")
    pool = connector._attachment._pool
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with pool._changed:
            held.set()
            release.wait(30)

    holding = threading.Thread(target=hold)
    holding.start()
    held.wait(10)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        answers = [connector.get(key) for _ in range(2)]
        os._exit(0 if answers == [b"x", b"x"] and len(pool._idle) == 1 else 1)
    release.set()
    holding.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert connector.get(key) == b"x"


@pytest.mark.slow
@pytest.mark.parametrize("connected", [True, False])
def test_threads_at_a_server_that_stopped_wait_beside_each_other(
    start_server: Callable[..., Any], connected: bool
) -> None:
    server, together = start_server(), threading.Barrier(8, timeout=60)
    owner = RedisConnector("127.0.0.1", server.port, timeout=1)
    key = owner.put(b"x")
    with RedisConnector.from_url(owner.url) as connector, ThreadPoolExecutor(8) as pool:

        def get(_: int) -> float:
            together.wait()
            start = time.monotonic()
            with pytest.raises(ConnectorUnavailableError, match="no byte came or went for 1 s"):
                connector.get(key)
            return time.monotonic() - start

        if connected:
            connector.get(key)
        server.stop_for_a_while()
        assert max(pool.map(get, range(8))) < 3
        server.go_on()
    owner.close()
