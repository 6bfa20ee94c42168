"""Waiting: pushed, over one connection, through restarts, until the connector is closed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from proxystore.errors import ClosedError, ConnectorUnavailableError
from proxystore.testing import Peer
from proxystore_connectors_redis import RedisConnector


def _until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this never came to be"


def _channels(client: Any, connector: RedisConnector) -> list[bytes]:
    return client.pubsub_channels(f"ps:{connector.config()['namespace']}:*")


@pytest.fixture
def client(server: Any) -> Any:
    with server.client() as client:
        yield client


@pytest.mark.slow
@pytest.mark.parametrize("nbytes", [1, 500_000])
def test_what_another_process_sets_ends_a_wait(
    connector: RedisConnector, client: Any, nbytes: int
) -> None:
    key = connector.new_key("awaited")
    with ThreadPoolExecutor(1) as pool, Peer(connector) as peer:
        waiting = pool.submit(connector.wait, key, 30)
        _until(lambda: _channels(client, connector))
        peer.call("set", key, bytes(nbytes))
        assert waiting.result(5) is True


def test_an_object_in_parts_ends_a_wait_once_it_is_whole(
    connector: RedisConnector, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RedisConnector, "_part_nbytes", 1000)
    key = connector.new_key()

    def wait_and_get() -> bytes:
        assert connector.wait(key, 30)
        return bytes(connector.get(key) or b"")

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_and_get)
        _until(lambda: _channels(client, connector))
        connector.set(key, bytes(100_000))
        assert waiting.result(5) == bytes(100_000)


def test_many_waits_take_one_connection_and_one_thread(server: Any, client: Any) -> None:
    threads, connections = threading.active_count(), len(client.client_list())
    with RedisConnector("127.0.0.1", server.port) as connector:
        keys = [connector.new_key() for _ in range(30)]
        with ThreadPoolExecutor(60) as pool:
            waiting = [pool.submit(connector.wait, key, 30) for key in keys * 2]
            _until(lambda: len(_channels(client, connector)) == 30)
            listening = [each for each in client.client_list() if each["sub"] != "0"]
            assert len(listening) == 1
            assert threading.active_count() <= threads + 60 + 1
            for key in keys:
                connector.set(key, b"x")
            assert all(each.result(10) for each in waiting)
        _until(lambda: not _channels(client, connector))
    _until(lambda: len(client.client_list()) <= connections)


def test_who_waits_asks_the_server_no_more_than_three_times(
    start_server: Callable[..., Any],
) -> None:
    server = start_server()
    with (
        RedisConnector("127.0.0.1", server.port) as connector,
        server.client() as client,
        ThreadPoolExecutor(1) as pool,
    ):
        key = connector.new_key()
        waiting = pool.submit(connector.wait, key, 30)
        _until(lambda: _channels(client, connector))
        connector.set(key, b"x")
        assert waiting.result(5)
        assert client.info("commandstats")["cmdstat_exists"]["calls"] <= 3 + 1  # one in the script


def test_no_wake_up_is_lost_however_set_and_wait_meet(connector: RedisConnector) -> None:
    with ThreadPoolExecutor(2) as pool:
        for _ in range(150):
            key = connector.new_key()
            waiting = pool.submit(connector.wait, key, 20)
            setting = pool.submit(connector.set, key, b"x")
            setting.result(10)
            assert waiting.result(10) is True


@pytest.mark.slow
def test_a_wait_goes_on_through_a_restart_of_the_server(start_server: Callable[..., Any]) -> None:
    server = start_server()
    with RedisConnector("127.0.0.1", server.port) as connector, ThreadPoolExecutor(1) as pool:
        key = connector.new_key()
        waiting = pool.submit(connector.wait, key, 60)
        with server.client() as client:
            _until(lambda: _channels(client, connector))
        server.kill()
        server.start()
        with server.client() as client:
            _until(lambda: _channels(client, connector))
        connector.set(key, b"x")
        assert waiting.result(10) is True


def test_a_wait_goes_on_when_the_server_fails_it_just_as_it_looks(
    connector: RedisConnector,
) -> None:
    gone = ConnectorUnavailableError("redis", "it was killed", "Start it again.")
    answers: list[bool | Exception] = [False, gone, gone, False, gone, True]

    def look() -> bool:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if not answer and len(answers) == 2:
            connector.set(connector.new_key("other"), b"which is said in that channel")
        return answer

    channel = f"ps:{connector.config()['namespace']}:other".encode()
    assert connector._attachment.notices.wait(channel, look, 30) is True
    assert answers == []


@pytest.mark.slow
def test_a_wait_fails_once_the_server_was_gone_for_the_timeout(
    start_server: Callable[..., Any],
) -> None:
    server = start_server()
    connector = RedisConnector("127.0.0.1", server.port, timeout=0.5)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(connector.wait, connector.new_key())
        with server.client() as client:
            _until(lambda: _channels(client, connector))
        server.kill()
        with pytest.raises(ConnectorUnavailableError, match="redis-cli"):
            waiting.result(10)
    connector.close(clear=False)


@pytest.mark.slow
def test_a_wait_fails_when_the_server_is_silent_for_long(start_server: Callable[..., Any]) -> None:
    server = start_server()
    connector = RedisConnector("127.0.0.1", server.port, timeout=0.3)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(connector.wait, connector.new_key())
        with server.client() as client:
            _until(lambda: _channels(client, connector))
        server.stop_for_a_while()
        with pytest.raises(ConnectorUnavailableError):
            waiting.result(10)
        server.go_on()
    connector.close()


@pytest.mark.slow
def test_a_long_wait_on_a_quiet_server_is_no_failure(start_server: Callable[..., Any]) -> None:
    server = start_server()
    with RedisConnector("127.0.0.1", server.port, timeout=0.1) as connector:
        assert connector.wait(connector.new_key(), 0.7) is False


def test_closing_ends_every_wait(server: Any, client: Any) -> None:
    connector = RedisConnector("127.0.0.1", server.port)
    with ThreadPoolExecutor(3) as pool:
        waiting: list[Future[bool]] = [
            pool.submit(connector.wait, connector.new_key()) for _ in range(3)
        ]
        _until(lambda: len(_channels(client, connector)) == 3)
        connector.close()
        for each in waiting:
            with pytest.raises(ClosedError):
                each.result(5)


@pytest.mark.slow
def test_who_has_waited_leaves_no_thread_behind(start_server: Callable[..., Any]) -> None:
    server, threads = start_server(), threading.active_count()
    with RedisConnector("127.0.0.1", server.port, timeout=0.1) as connector:
        assert connector.wait(connector.new_key(), 0.05) is False
        _until(lambda: threading.active_count() == threads)
        # And begins anew.
        with ThreadPoolExecutor(1) as pool:
            key = connector.new_key()
            waiting = pool.submit(connector.wait, key, 30)
            with server.client() as client:
                _until(lambda: _channels(client, connector))
            connector.set(key, b"x")
            assert waiting.result(5)


# 3.12 warns of threads; connectors must survive exactly this.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_waits_for_itself(connector: RedisConnector, client: Any) -> None:
    import os

    key, other = connector.new_key(), connector.new_key()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(connector.wait, key, 30)
        _until(lambda: _channels(client, connector))
        child = os.fork()
        if child == 0:
            os._exit(0 if connector.wait(other, 20) else 1)
        _until(lambda: len(_channels(client, connector)) == 2)
        connector.set(other, b"x")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not waiting.done()
        connector.set(key, b"x")
        assert waiting.result(5)


def test_who_joins_a_wait_looks_once_more_before_it_waits(connector: RedisConnector) -> None:
    """For what it waits for may have come after it looked, and before it was heard."""
    notices = connector._attachment.notices
    with notices.of(b"ps:channel") as first:
        assert first.next(10)
        with notices.of(b"ps:channel") as second:
            assert second.next(10)
            assert not second.next(0.01)
