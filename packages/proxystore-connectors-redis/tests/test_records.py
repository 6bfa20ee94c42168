"""The record of a namespace, when a server has lost it that keeps what is in the namespace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from proxystore.errors import MediumGoneError
from proxystore_connectors_redis import RedisConnector


def _lose(server: Any, connector: RedisConnector) -> bytes:
    """Remove the record, as an eviction by ``maxmemory-policy`` does, and give its name."""
    name = f"ps:{connector.config()['namespace']}".encode()
    with server.client() as client:
        assert client.delete(name) == 1
    return name


_WRITES: dict[str, Callable[[RedisConnector], Any]] = {
    "put": lambda made: made.put(b"x"),
    "batch": lambda made: made.put_batch([b"x"] * 3)[0],
    "parts": lambda made: made.put(b"larger than a part" * 10),
    "set": lambda made: _set(made, made.new_key()),
}


def _set(made: RedisConnector, key: Any) -> Any:
    made.set(key, b"x", ttl=100)
    return key


@pytest.mark.parametrize("write", _WRITES)
def test_an_owner_whose_record_was_lost_makes_it_anew_with_its_next_write(
    connector: RedisConnector, server: Any, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    monkeypatch.setattr(RedisConnector, "_part_nbytes", 100)
    with server.client() as client:
        before = client.get(f"ps:{connector.config()['namespace']}")
        name = _lose(server, connector)
        key = _WRITES[write](connector)
        assert client.get(name) == before
    with RedisConnector.from_url(connector.url) as other:
        assert other.get(key)
        # Who attached may write again too.
        assert other.exists(other.put(b"x"))
    connector.close(clear=True)
    with server.client() as client:
        assert client.keys(name.decode() + ":*") == []


def test_an_owner_whose_record_was_lost_replaces_what_is_there(
    connector: RedisConnector, server: Any
) -> None:
    key = connector.put(b"old")
    _lose(server, connector)
    connector.replace(key, b"new")
    with RedisConnector.from_url(connector.url) as other:
        assert bytes(other.get(key) or b"") == b"new"


def test_an_owner_writes_on_after_a_flush_for_those_who_attach_then(
    start_server: Callable[..., Any],
) -> None:
    server = start_server()
    with RedisConnector("127.0.0.1", server.port) as connector, server.client() as client:
        client.flushall()
        key = connector.put(b"after")
        with RedisConnector.from_url(connector.url) as other:
            assert bytes(other.get(key) or b"") == b"after"


@pytest.mark.slow
def test_an_owner_writes_on_where_the_server_evicts_records_too(
    start_server: Callable[..., Any],
) -> None:
    server = start_server("--maxmemory", "12mb", "--maxmemory-policy", "allkeys-random")
    with RedisConnector("127.0.0.1", server.port) as connector, server.client() as client:
        for _ in range(300):
            connector.put_batch([bytes(20_000)] * 20)
        # Of the 500 names for which there is room, the record is one.
        assert client.info("stats")["evicted_keys"] > 5000
        # Or the commands of who attaches make the server evict it once more.
        client.config_set("maxmemory", 0)
        key = connector.put(b"x")
        with RedisConnector.from_url(connector.url) as other:
            assert bytes(other.get(key) or b"") == b"x"


@pytest.mark.parametrize("write", _WRITES)
def test_who_owns_nothing_is_told_of_a_lost_record_and_leaves_nothing(
    connector: RedisConnector, server: Any, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    monkeypatch.setattr(RedisConnector, "_part_nbytes", 100)
    with RedisConnector.from_url(connector.url) as other, server.client() as client:
        key = other.put(b"kept")
        name = _lose(server, connector)
        with pytest.raises(MediumGoneError, match=r"no record of it.*its owner writes.*adopt=True"):
            _WRITES[write](other)
        assert len(client.keys(name.decode() + ":*")) == 1
        assert bytes(other.get(key) or b"") == b"kept"


def test_what_lost_its_record_is_there_again_once_it_is_adopted(server: Any) -> None:
    with RedisConnector("127.0.0.1", server.port, namespace="orphan", clear=False) as first:
        key = first.put(b"x")
    _lose(server, first)
    with RedisConnector("127.0.0.1", server.port, namespace="orphan", adopt=True):
        with RedisConnector.from_url(first.url) as other:
            assert bytes(other.get(key) or b"") == b"x"


def test_who_has_lost_a_record_does_not_take_the_namespace_from_who_made_it_since(
    server: Any,
) -> None:
    first = RedisConnector("127.0.0.1", server.port, namespace="taken")
    _lose(server, first)
    with RedisConnector("127.0.0.1", server.port, namespace="taken") as second:
        assert second.is_owner
        key = first.put(b"x")
        first.close()
        assert second.exists(key)
