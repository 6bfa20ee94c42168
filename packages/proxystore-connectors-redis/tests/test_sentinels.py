"""Sentinels that do not agree: the next ones are asked, and what each said is told."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxystore.errors import ConnectorUnavailableError
from proxystore_connectors_redis import RedisConnector


class _Sentinels:
    """Two of them, in the order in which connectors ask; they watch nothing yet."""

    def __init__(self, start_server: Callable[..., Any], folder: Path) -> None:
        started = []
        for number in range(2):
            config = folder / f"sentinel-{number}.conf"
            config.touch()
            started.append(start_server(sentinel=config))
        self.first, self.second = sorted(started, key=lambda each: str(each.port))

    def connector(self, **options: Any) -> RedisConnector:
        nodes = [f"127.0.0.1:{each.port}" for each in (self.first, self.second)]
        return RedisConnector(sentinels=nodes, service="main", **{"timeout": 5, **options})


def _watch(sentinel: Any, port: int) -> None:
    """Let ``sentinel`` say that service 'main' is at ``port``.

    It needs another to agree before it looks for a new primary, and so never does.
    """
    with sentinel.client() as asked:
        asked.execute_command("SENTINEL MONITOR", "main", "127.0.0.1", port, 2)


@pytest.fixture
def sentinels(start_server: Callable[..., Any], tmp_path: Path) -> _Sentinels:
    return _Sentinels(start_server, tmp_path)


@pytest.fixture
def gone() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def test_a_sentinel_that_does_not_know_the_service_is_passed_over(
    sentinels: _Sentinels, server: Any
) -> None:
    _watch(sentinels.second, server.port)
    with sentinels.connector() as connector:
        assert connector.exists(connector.put(b"x"))


def test_a_sentinel_that_names_a_primary_that_is_gone_is_passed_over(
    sentinels: _Sentinels, server: Any, gone: int
) -> None:
    _watch(sentinels.first, gone)
    _watch(sentinels.second, server.port)
    with sentinels.connector() as connector:
        assert connector.exists(connector.put(b"x"))


def test_a_sentinel_that_names_a_replica_is_passed_over(
    sentinels: _Sentinels, server: Any, start_server: Callable[..., Any]
) -> None:
    replica = start_server("--replicaof", "127.0.0.1", str(server.port))
    _watch(sentinels.first, replica.port)
    _watch(sentinels.second, server.port)
    with sentinels.connector() as connector:
        assert connector.exists(connector.put(b"x"))


@pytest.mark.slow
@pytest.mark.parametrize("stopped", ["sentinel", "primary"])
def test_what_does_not_answer_is_passed_over(
    sentinels: _Sentinels, server: Any, start_server: Callable[..., Any], stopped: str
) -> None:
    other = start_server()
    _watch(sentinels.first, other.port)
    _watch(sentinels.second, server.port)
    (sentinels.first if stopped == "sentinel" else other).stop_for_a_while()
    with sentinels.connector(timeout=0.5) as connector:
        assert connector.exists(connector.put(b"x"))


def test_of_sentinels_that_lead_to_no_primary_each_is_told_with_what_it_said(
    sentinels: _Sentinels, gone: int
) -> None:
    _watch(sentinels.second, gone)
    with pytest.raises(ConnectorUnavailableError) as caught:
        sentinels.connector()
    for said in (
        f"127.0.0.1:{sentinels.first.port}: it does not know the service",
        f"127.0.0.1:{sentinels.second.port}: it names 127.0.0.1:{gone}, which cannot be reached",
    ):
        assert said in str(caught.value)


@pytest.mark.slow
def test_a_primary_that_does_not_answer_is_tried_once_however_many_name_it(
    sentinels: _Sentinels, start_server: Callable[..., Any]
) -> None:
    primary = start_server()
    for sentinel in (sentinels.first, sentinels.second):
        _watch(sentinel, primary.port)
    primary.stop_for_a_while()
    start = time.monotonic()
    with pytest.raises(ConnectorUnavailableError, match=f"{primary.port}, which cannot be.*no ans"):
        sentinels.connector(timeout=2)
    assert time.monotonic() - start < 3.5


def test_a_primary_that_refuses_us_is_reported_as_it_says(
    sentinels: _Sentinels, start_server: Callable[..., Any]
) -> None:
    primary = start_server("--requirepass", "not told")
    for sentinel in (sentinels.first, sentinels.second):
        _watch(sentinel, primary.port)
    with pytest.raises(ConnectorUnavailableError, match="wants a password"):
        sentinels.connector()


def test_a_user_who_may_not_ask_for_the_role_of_a_primary_can_use_it(
    sentinels: _Sentinels, start_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKER_PASSWORD", "secret")
    primary = start_server(
        *("--user", "worker", "on", ">secret", "~ps:*", "&ps:*", "-@all", "+@read", "+@write"),
        *("+@connection", "+@pubsub", "+@scripting", "+@transaction"),
    )
    _watch(sentinels.second, primary.port)
    options = {"username": "worker", "password": "env:WORKER_PASSWORD"}
    with sentinels.connector(**options) as connector:
        assert connector.exists(connector.put(b"x"))
