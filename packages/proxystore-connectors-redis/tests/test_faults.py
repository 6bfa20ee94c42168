"""What happens when servers, networks and other processes fail."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from proxystore.abc import Acknowledgement
from proxystore.errors import (
    ConnectorUnavailableError,
    KeyAlreadySetError,
    KeyNotSetError,
    MediumFullError,
    ProxyStoreError,
)
from proxystore_connectors_redis import RedisConnector

_LARGE = 3_000_000


def _pattern(nbytes: int) -> bytes:
    return (bytes(range(251)) * (nbytes // 251 + 1))[:nbytes]


# --- Restarts --------------------------------------------------------------------


@pytest.mark.slow
def test_a_server_that_was_restarted_is_used_again(start_server: Callable[..., Any]) -> None:
    server = start_server()
    with RedisConnector("127.0.0.1", server.port) as connector:
        with ThreadPoolExecutor(8) as pool:
            keys = list(pool.map(connector.put, [b"before"] * 32))
        server.kill()
        with pytest.raises(ConnectorUnavailableError, match=f"127.0.0.1:{server.port}.*redis-cli"):
            connector.get(keys[0])
        server.start()
        # Every connection that the pool had is dead now.
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(connector.get, keys)) == {None}
            after = list(pool.map(connector.put, [b"after"] * 32))
            assert {bytes(found or b"") for found in pool.map(connector.get, after)} == {b"after"}


@pytest.mark.slow
def test_objects_end_with_the_server_as_acknowledged(start_server: Callable[..., Any]) -> None:
    server = start_server()
    with RedisConnector("127.0.0.1", server.port) as connector:
        assert connector.acknowledges is Acknowledgement.MEMORY
        key = connector.put(b"x")
        server.kill()
        server.start()
        assert connector.get(key) is None


@pytest.mark.slow
def test_a_server_that_keeps_a_log_on_disk_keeps_objects_through_kill_9(
    start_server: Callable[..., Any],
) -> None:
    server = start_server("--appendonly", "yes", "--appendfsync", "always")
    with RedisConnector("127.0.0.1", server.port) as connector:
        key = connector.put(_pattern(_LARGE))
        server.kill()
        server.start()
        assert bytes(connector.get(key) or b"") == _pattern(_LARGE)


# --- Connections that end ----------------------------------------------------------


@pytest.mark.parametrize("after", [1, 40, 100, 2_000_000])
def test_a_put_whose_connection_is_cut_is_completed_on_another(
    forwarded: RedisConnector, forwarder: Any, after: int
) -> None:
    forwarder.cut("up", after)
    keys = forwarded.put_batch([_pattern(_LARGE), b"small"])
    assert forwarder.cuts == 1
    assert [_pattern(_LARGE), b"small"] == [bytes(forwarded.get(key) or b"") for key in keys]


@pytest.mark.parametrize("after", [1, 20, 60, 1_000_000, _LARGE - 5])
def test_a_get_whose_connection_is_cut_is_completed_on_another(
    forwarded: RedisConnector, forwarder: Any, after: int
) -> None:
    key = forwarded.put(_pattern(_LARGE))
    forwarder.cut("down", after)
    assert bytes(forwarded.get(key) or b"") == _pattern(_LARGE)
    assert forwarder.cuts == 1


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_network_that_cuts_every_connection_is_an_error_and_no_hang(
    forwarded: RedisConnector, forwarder: Any, direction: str
) -> None:
    key = forwarded.put(_pattern(_LARGE))
    forwarder.cut(direction, 1_000_000, times=10**6)
    call = forwarded.put if direction == "up" else lambda _: forwarded.get(key)
    with pytest.raises(ConnectorUnavailableError, match=rf"{forwarder.port}.*was lost"):
        call(_pattern(_LARGE))
    assert forwarder.cuts == 2


@pytest.mark.parametrize("part_nbytes", [1 << 20, 1000])
@pytest.mark.parametrize("nbytes", [50, 5000])
def test_a_set_that_was_done_but_not_answered_is_no_second_set(
    forwarded: RedisConnector,
    forwarder: Any,
    server: Any,
    monkeypatch: pytest.MonkeyPatch,
    nbytes: int,
    part_nbytes: int,
) -> None:
    monkeypatch.setattr(RedisConnector, "_part_nbytes", part_nbytes)
    parts = -(-nbytes // part_nbytes) if nbytes > part_nbytes else 0
    # The answers to what is staged, and the beginning of that to the commit.
    forwarder.cut("down", (parts + 1) * len(b"+OK\r\n") + 1)
    key = forwarded.new_key()
    forwarded.set(key, _pattern(nbytes), ttl=1000)
    assert forwarder.cuts == 1
    assert bytes(forwarded.get(key) or b"") == _pattern(nbytes)
    with pytest.raises(KeyAlreadySetError):
        forwarded.set(key, b"second")
    with server.client() as client:
        names = client.keys(f"ps:{forwarded.config()['namespace']}:*")
        assert len(names) == 1 + parts
        assert all(900 < client.ttl(name) < 1100 for name in names)


def test_a_replace_that_was_done_but_not_answered_is_done(
    forwarded: RedisConnector, forwarder: Any
) -> None:
    key = forwarded.put(b"old")
    forwarder.cut("down", len(b"+OK\r\n") + 1)
    forwarded.replace(key, b"new")
    assert forwarder.cuts == 1
    assert bytes(forwarded.get(key) or b"") == b"new"


def test_an_evict_that_was_done_but_not_answered_is_done(
    forwarded: RedisConnector, forwarder: Any
) -> None:
    key = forwarded.put(b"x")
    forwarder.cut("down", 1)
    forwarded.evict(key)
    assert forwarder.cuts == 1
    assert not forwarded.exists(key)


# --- Servers that cannot be used --------------------------------------------------


def test_a_server_that_is_not_there_is_named_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ConnectorUnavailableError, match=rf"127\.0\.0\.1:{port}.*Check address"):
        RedisConnector("127.0.0.1", port)


def test_a_socket_that_is_not_there_is_named() -> None:
    with pytest.raises(ConnectorUnavailableError, match=r"redis at /nowhere/redis\.sock"):
        RedisConnector(socket_path="/nowhere/redis.sock")


@pytest.mark.slow
def test_a_server_that_stops_answering_is_an_error_at_the_timeout(
    start_server: Callable[..., Any],
) -> None:
    server = start_server()
    connector = RedisConnector("127.0.0.1", server.port, timeout=0.1)
    key = connector.put(b"x")
    server.stop_for_a_while()
    for call in (lambda: connector.get(key), lambda: connector.put(_pattern(20_000_000))):
        start = time.monotonic()
        with pytest.raises(ConnectorUnavailableError, match=r"no byte came or went for 0\.1 s"):
            call()
        assert time.monotonic() - start < 2
    server.go_on()
    # A late answer to what was given up is not taken for that of what is asked next.
    assert bytes(connector.get(key) or b"") == b"x"
    connector.close()


def test_something_that_accepts_and_says_nothing_is_an_error_at_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(ConnectorUnavailableError):
            RedisConnector("127.0.0.1", silent.getsockname()[1], timeout=0.1)
        assert time.monotonic() - start < 2


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01\0\x02\x02"])
def test_something_that_is_no_redis_server_is_reported(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as client:
                client.recv(100)
                client.sendall(answer)

        serving = threading.Thread(target=serve)
        serving.start()
        with pytest.raises(ConnectorUnavailableError, match="redis at"):
            RedisConnector("127.0.0.1", listener.getsockname()[1], timeout=1)
        serving.join()


def test_a_replica_is_reported_as_one(
    start_server: Callable[..., Any], connector: RedisConnector
) -> None:
    replica = start_server()
    replicated = {**connector.config(), "port": replica.port}
    with RedisConnector("127.0.0.1", replica.port, namespace=replicated["namespace"], clear=False):
        pass
    with (
        RedisConnector.from_config(replicated) as connector,
        replica.client() as client,
    ):
        assert not connector.exists(connector.new_key())
        client.replicaof("127.0.0.1", "1")
        for write in (connector.put, lambda data: connector.set(connector.new_key(), data)):
            with pytest.raises(ConnectorUnavailableError, match=r"replica.*primary"):
                write(b"x")


def test_a_server_that_cannot_save_is_reported(start_server: Callable[..., Any]) -> None:
    server = start_server()
    with RedisConnector("127.0.0.1", server.port) as connector, server.client() as client:
        client.config_set("appendonly", "no")
        client.config_set("save", "3600 1")
        (server.folder / "dump.rdb").mkdir()
        client.bgsave()
        deadline = time.monotonic() + 10
        while client.info("persistence")["rdb_last_bgsave_status"] == "ok":
            assert time.monotonic() < deadline
        with pytest.raises(ConnectorUnavailableError, match="cannot save its data"):
            connector.put(b"x")
        with pytest.raises(ConnectorUnavailableError, match="cannot save its data"):
            connector.set(connector.new_key(), b"x")
        client.config_set("save", "")


@pytest.mark.slow
def test_a_server_that_loads_its_data_is_reported(start_server: Callable[..., Any]) -> None:
    server = start_server("--enable-debug-command", "yes")
    with RedisConnector("127.0.0.1", server.port) as connector, server.client() as client:
        connector.put_batch([b"x"] * 2000)
        client.config_set("key-load-delay", "3000")
        client.config_set("loading-process-events-interval-bytes", "1024")
        with socket.create_connection(("127.0.0.1", server.port)) as other:
            other.sendall(b"DEBUG RELOAD\r\n")
            deadline = time.monotonic() + 10
            with pytest.raises(ConnectorUnavailableError, match="loading its data"):
                while time.monotonic() < deadline:
                    connector.exists(connector.new_key())
        server.kill()
        connector.close(clear=False)


def test_a_database_that_the_server_does_not_have_is_reported_as_that(server: Any) -> None:
    with pytest.raises(ConnectorUnavailableError, match=r"no database of that.*smaller db") as told:
        RedisConnector("127.0.0.1", server.port, db=99)
    assert "firewall" not in str(told.value)


def test_a_connection_that_fails_has_no_error_of_ours_behind_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ConnectorUnavailableError) as caught:
        RedisConnector("127.0.0.1", port)
    assert "IndexError" not in "".join(traceback.format_exception(caught.value))


# --- Full servers -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("part_nbytes", [1 << 30, 1_000_000])
def test_a_full_server_is_an_error_and_keeps_nothing_of_what_failed(
    start_server: Callable[..., Any], part_nbytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RedisConnector, "_part_nbytes", part_nbytes)
    server = start_server("--maxmemory", "12mb", "--maxmemory-policy", "noeviction")
    with RedisConnector("127.0.0.1", server.port) as connector, server.client() as client:
        kept = connector.put(b"kept")
        names = f"ps:{connector.config()['namespace']}:*"
        calls: list[Callable[[], object]] = [
            lambda: connector.put_batch([_pattern(4_000_000)] * 4),
            lambda: connector.set(connector.new_key(), _pattern(16_000_000)),
            lambda: connector.replace(kept, _pattern(16_000_000)),
        ]
        for call in calls:
            with pytest.raises(MediumFullError, match=f"{server.port}.*maxmemory"):
                call()
            if part_nbytes < 1 << 30 or call is calls[0]:
                assert len(client.keys(names)) == 1
        assert bytes(connector.get(kept) or b"") == b"kept"


def test_objects_can_be_evicted_from_a_full_server(start_server: Callable[..., Any]) -> None:
    server = start_server("--maxmemory", "6mb", "--maxmemory-policy", "noeviction")
    with RedisConnector("127.0.0.1", server.port) as connector:
        keys = []
        with pytest.raises(MediumFullError):
            while True:
                keys.append(connector.put(_pattern(500_000)))
        for key in keys:
            connector.touch(key, 100)
            connector.evict(key)
        assert connector.exists(connector.put(b"x"))


# --- Processes that die ----------------------------------------------------------------

_WRITER = """
import sys
from proxystore_connectors_redis import RedisConnector
RedisConnector._part_nbytes = 1_000_000
connector = RedisConnector.from_url(sys.argv[1])
key = connector.new_key("half")
print("ready", flush=True)
connector.set(key, bytes(10**9)) if sys.argv[2] == "half" else connector.set(key, bytes(5_000_000))
print("done", flush=True)
sys.stdin.read()
"""


def _writer(url: str, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, url, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


@pytest.mark.slow
def test_of_a_writer_killed_midway_nothing_is_seen_and_nothing_stays(
    connector: RedisConnector, server: Any
) -> None:
    with _writer(connector.url, "half") as writer, server.client() as client:
        names = f"ps:{connector.config()['namespace']}:*"
        deadline = time.monotonic() + 30
        while len(left := client.keys(names)) < 3:
            assert time.monotonic() < deadline
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        key = connector.new_key("half")
        assert connector.get(key) is None
        assert not connector.exists(key)
        left = client.keys(names)
        assert left
        assert all(0 < client.ttl(name) <= 3600 for name in left)
        connector.set(key, b"by another")
        assert bytes(connector.get(key) or b"") == b"by another"


@pytest.mark.slow
def test_what_set_returned_for_survives_kill_9_of_its_writer(
    connector: RedisConnector, server: Any
) -> None:
    with _writer(connector.url, "whole") as writer, server.client() as client:
        assert writer.stdout is not None
        assert [writer.stdout.readline() for _ in range(2)] == ["ready\n", "done\n"]
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        assert bytes(connector.get(connector.new_key("half")) or b"") == bytes(5_000_000)
        for name in client.keys(f"ps:{connector.config()['namespace']}:*"):
            assert client.ttl(name) == -1


# --- Calls that fail -----------------------------------------------------------------------


def test_replacing_what_is_absent_leaves_nothing(connector: RedisConnector, server: Any) -> None:
    with pytest.raises(KeyNotSetError):
        connector.replace(connector.new_key(), _pattern(1000))
    with server.client() as client:
        assert client.keys(f"ps:{connector.config()['namespace']}:*") == []


def test_every_error_survives_pickling(connector: RedisConnector) -> None:
    import pickle

    with pytest.raises(ProxyStoreError) as caught:
        RedisConnector("127.0.0.1", 1)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
