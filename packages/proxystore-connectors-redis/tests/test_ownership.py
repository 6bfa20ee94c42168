"""Whose a namespace is, what goes with it, and what never does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from proxystore.errors import (
    ClosedError,
    ConnectorUnavailableError,
    CorruptObjectError,
    InvalidKeyError,
    MediumGoneError,
    NotOwnerError,
)
from proxystore_connectors_redis import RedisConnector, RedisKey


@pytest.fixture
def client(server: Any) -> Any:
    with server.client() as client:
        yield client


def _named(connector: RedisConnector) -> str:
    return connector.config()["namespace"]


def test_clearing_a_namespace_touches_nothing_else(server: Any, client: Any) -> None:
    client.set("somebody", "else's")
    client.set("ps:other", "a record that is not ours")
    with RedisConnector("127.0.0.1", server.port, namespace="a") as first:
        with RedisConnector("127.0.0.1", server.port, namespace="ab") as second:
            kept = first.put(b"of a")
            second.put_batch([b"of ab"] * 5000)
        assert client.keys("ps:ab:*") == []
        assert bytes(first.get(kept) or b"") == b"of a"
    assert client.keys("ps:a:*") == []
    assert client.get("somebody") == b"else's"
    assert client.get("ps:other") == b"a record that is not ours"
    client.delete("somebody", "ps:other")


def test_what_opens_an_existing_namespace_does_not_own_it(
    connector: RedisConnector, server: Any
) -> None:
    assert connector.is_owner
    with RedisConnector("127.0.0.1", server.port, namespace=_named(connector)) as other:
        assert not other.is_owner
        key = other.put(b"x")
    assert connector.exists(key)


def test_of_connectors_that_make_one_namespace_at_once_one_owns_it(server: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def make(_: int) -> RedisConnector:
        return RedisConnector("127.0.0.1", server.port, namespace="raced", clear=False)

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(make, range(8)))
    assert [each.is_owner for each in made].count(True) == 1
    for each in made:
        each.close(clear=each.is_owner)


def test_who_adopts_a_namespace_takes_it_from_its_owner(server: Any) -> None:
    first = RedisConnector("127.0.0.1", server.port)
    key = first.put(b"x")
    heir = RedisConnector("127.0.0.1", server.port, namespace=_named(first), adopt=True)
    assert heir.is_owner
    first.close()
    assert heir.exists(key)
    heir.close()
    with RedisConnector("127.0.0.1", server.port, namespace=_named(first)) as other:
        assert not other.exists(key)


def test_an_owner_that_is_none_any_more_may_not_clear(server: Any) -> None:
    first = RedisConnector("127.0.0.1", server.port)
    with RedisConnector("127.0.0.1", server.port, namespace=_named(first), adopt=True) as heir:
        key = heir.put(b"x")
        with pytest.raises(NotOwnerError):
            first.close(clear=True)
        assert heir.exists(key)


def test_an_owner_made_with_clear_false_leaves_its_objects(server: Any) -> None:
    with RedisConnector("127.0.0.1", server.port, clear=False) as first:
        key = first.put(b"x")
    with RedisConnector("127.0.0.1", server.port, namespace=_named(first), adopt=True) as heir:
        assert heir.exists(key)


@pytest.mark.parametrize("write", ["put", "set", "replace", "parts"])
def test_nothing_can_be_left_in_a_namespace_that_its_owner_cleared(
    server: Any, client: Any, write: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = RedisConnector("127.0.0.1", server.port)
    late = RedisConnector.from_config(owner.config())
    key = late.put(b"x")
    owner.close()
    if write == "parts":
        monkeypatch.setattr(RedisConnector, "_part_nbytes", 10)
    calls = {
        "put": lambda: late.put_batch([b"too late"] * 3, ttl=100),
        "set": lambda: late.set(late.new_key(), b"too late"),
        "replace": lambda: late.replace(key, b"too late"),
        "parts": lambda: late.put(b"too late for parts"),
    }
    with pytest.raises(MediumGoneError, match="owner has closed"):
        calls[write]()
    assert client.keys(f"ps:{_named(owner)}:*") == []
    # Nor does what remembers it stay for ever.
    assert 0 < client.ttl(f"ps:{_named(owner)}") <= 24 * 3600
    assert late.get(key) is None


def test_a_cleared_namespace_can_be_made_again(server: Any) -> None:
    RedisConnector("127.0.0.1", server.port, namespace="again").close()
    with RedisConnector("127.0.0.1", server.port, namespace="again") as second:
        assert second.is_owner
        assert second.exists(second.put(b"x"))


@pytest.mark.parametrize("call", ["put", "get", "set", "wait", "evict"])
def test_a_namespace_that_nobody_made_is_refused(server: Any, client: Any, call: str) -> None:
    key = RedisKey("x")
    calls = {
        "put": lambda made: made.put(b"x"),
        "get": lambda made: made.get(key),
        "set": lambda made: made.set(key, b"x"),
        "wait": lambda made: made.wait(key, 20),
        "evict": lambda made: made.evict(key),
    }
    with RedisConnector.from_url(f"{server.url}/0/unmade") as made:
        for _ in range(2):
            with pytest.raises(MediumGoneError, match=r"'unmade'.*nobody has made it"):
                calls[call](made)
    assert client.keys("ps:unmade*") == []


def test_a_mistyped_namespace_is_told_those_that_exist(server: Any) -> None:
    with (
        RedisConnector("127.0.0.1", server.port, namespace="simulations"),
        RedisConnector("127.0.0.1", server.port, namespace="ended", db=5) as ended,
    ):
        ended.put(b"x")
        with (
            RedisConnector.from_url(f"{server.url}/0/simulatoins") as mistyped,
            pytest.raises(MediumGoneError, match="Did you mean 'simulations'") as caught,
        ):
            mistyped.put(b"x")
        assert "made there: " in str(caught.value)
        assert "ended" not in str(caught.value)
        assert "Did you mean 'simulations'? Let its owner" in str(caught.value)


def test_of_many_namespaces_some_are_named_and_the_others_counted(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [*(f"many{n:02}" for n in range(10)), "and 3 more"]
    with server.client(db=7) as other:
        other.mset({f"ps:many{n:02}": "1o-somebody" for n in range(13)})
        with (
            RedisConnector.from_url(f"{server.url}/7/else") as attached,
            pytest.raises(MediumGoneError, match=rf"made there: {', '.join(names)}\)\. Let its"),
        ):
            attached.put(b"x")
        other.mset({f"object{n}": "" for n in range(3000)})
        monkeypatch.setattr("proxystore_connectors_redis._namespace._LOOKS", 1)
        with (
            RedisConnector.from_url(f"{server.url}/7/else") as attached,
            pytest.raises(MediumGoneError, match=r"made there, of the names that were looked at: "),
        ):
            attached.put(b"x")
        other.flushdb()


def test_a_namespace_that_its_owner_cleared_is_refused_to_who_comes_later(server: Any) -> None:
    owner = RedisConnector("127.0.0.1", server.port)
    key = owner.put(b"x")
    owner.close()
    with (
        RedisConnector.from_config(owner.config()) as late,
        pytest.raises(MediumGoneError, match="owner has closed"),
    ):
        late.get(key)


def test_who_attaches_asks_once_whether_the_namespace_is_there(
    connector: RedisConnector, server: Any, client: Any
) -> None:
    key = connector.put(b"x")

    def questions() -> int:
        return int(client.info("commandstats")["cmdstat_getrange"]["calls"])

    before = questions()
    with RedisConnector.from_config(connector.config()) as other:
        assert [other.exists(key) for _ in range(5)] == [True] * 5
        assert questions() - before == 1
        # Nor does a connection that is made anew: the owner may go on after a restart.
        client.client_kill_filter(_type="normal", skipme=True)
        assert other.exists(key)
        assert questions() - before == 1


def test_a_url_of_a_server_makes_a_namespace_and_owns_it(server: Any) -> None:
    with RedisConnector.from_url(server.url) as made:
        assert made.is_owner
        with RedisConnector.from_url(made.url) as other:
            assert not other.is_owner
            assert bytes(other.get(made.put(b"x")) or b"") == b"x"


def test_databases_do_not_see_each_other(server: Any) -> None:
    with (
        RedisConnector("127.0.0.1", server.port, namespace="n", db=1) as one,
        RedisConnector("127.0.0.1", server.port, namespace="n", db=2) as two,
    ):
        assert two.is_owner
        key = one.put(b"x")
        assert not two.exists(key)


# --- Clearing -----------------------------------------------------------------------


@pytest.mark.slow
def test_a_close_that_could_not_clear_says_what_is_left_and_can_be_repeated(
    start_server: Callable[..., Any],
) -> None:
    server = start_server("--appendonly", "yes", "--appendfsync", "always")
    connector = RedisConnector("127.0.0.1", server.port, namespace="kept", timeout=1)
    key = connector.put(b"x")
    server.kill()
    for _ in range(2):
        with pytest.raises(ConnectorUnavailableError, match="could not be removed") as caught:
            connector.close()
        for word in (f"'kept' of redis at 127.0.0.1:{server.port}", "close it again", "adopt=True"):
            assert word in str(caught.value)
    server.start()
    assert bytes(connector.get(key) or b"") == b"x"
    connector.close()
    with server.client() as client:
        assert client.keys("ps:kept:*") == []
    connector.close()


@pytest.mark.slow
def test_a_close_that_could_not_clear_can_end_without_clearing(
    start_server: Callable[..., Any],
) -> None:
    server = start_server()
    connector = RedisConnector("127.0.0.1", server.port)
    server.kill()
    with pytest.raises(ConnectorUnavailableError):
        connector.close()
    connector.close(clear=False)
    with pytest.raises(ClosedError):
        connector.put(b"x")


@pytest.mark.parametrize("clear", [None, True])
def test_a_clearing_that_is_cut_after_it_began_is_completed(
    server: Any, forwarder: Any, clear: bool | None
) -> None:
    connector = RedisConnector("127.0.0.1", forwarder.port)
    connector.put_batch([b"x"] * 20)
    # The record of the namespace says by then that it is closed, and nobody was told.
    forwarder.cut("down", 1)
    connector.close(clear=clear)
    assert forwarder.cuts == 1
    with server.client() as client:
        assert client.keys(f"ps:{connector.config()['namespace']}:*") == []


# --- Two versions, and values of others ------------------------------------------


def test_a_namespace_of_a_newer_version_is_refused(server: Any, client: Any) -> None:
    client.set("ps:newer", "2o-what-they-like")
    with pytest.raises(ConnectorUnavailableError, match=r"layout 2.*reads layout 1"):
        RedisConnector("127.0.0.1", server.port, namespace="newer", adopt=True)
    with RedisConnector.from_url(f"{server.url}/0/newer") as attached:
        for write in (attached.put, lambda data: attached.set(attached.new_key(), data)):
            with pytest.raises(ConnectorUnavailableError, match="layout 2"):
                write(b"x")
    assert client.keys("ps:newer:*") == []
    assert client.get("ps:newer") == b"2o-what-they-like"
    client.delete("ps:newer")


def test_an_object_of_a_newer_version_is_refused(connector: RedisConnector, client: Any) -> None:
    key = connector.put(b"x")
    name = f"ps:{_named(connector)}:{key.redis_key}"
    client.setrange(name, 3, b"\x02")
    for read in (connector.get, connector.generation, lambda key: connector.get_range(key, 1, 1)):
        with pytest.raises(ConnectorUnavailableError, match=r"layout 2.*same version"):
            read(key)


@pytest.mark.parametrize(
    "value",
    [
        b"x",
        b"some value of somebody that is long enough for a header",
        b"psr\x01" + b"0" * 16 + b"\xff" * 8 + b"\0" * 8,
        b"psr\x01" + b"0" * 16 + b"\xff" * 8 + b"\0" * 7 + b"\x01",
        b"psr\x01" + b"0" * 16 + b"\0" * 7 + b"\x09" + b"\0" * 8 + b"short",
        b"psr\x01" + b"0" * 16 + b"\0" * 7 + b"\x02" + b"\0" * 8 + b"too long",
        b"psr\x01" + b"0" * 16 + b"\0" * 5 + b"\x09\0\0" + b"\0" * 6 + b"\xff\0",
    ],
)
def test_a_value_that_is_no_object_is_damage_and_no_hang(
    connector: RedisConnector, client: Any, value: bytes
) -> None:
    key = connector.new_key("planted")
    client.set(f"ps:{_named(connector)}:planted", value)
    for read in (
        lambda: connector.get(key),
        lambda: connector.get_batch([key]),
        lambda: connector.get_range(key, 0, 20),
        lambda: connector.get_range(key, 1, 20),
    ):
        with pytest.raises(CorruptObjectError):
            read()
    connector.evict(key)
    assert not connector.exists(key)


def test_a_value_of_another_type_is_reported(connector: RedisConnector, client: Any) -> None:
    client.rpush(f"ps:{_named(connector)}:list", "x")
    with pytest.raises(ConnectorUnavailableError, match="WRONGTYPE"):
        connector.get(connector.new_key("list"))
    # The connection goes on.
    assert connector.exists(connector.put(b"x"))


def test_a_key_of_another_connector_is_refused(connector: RedisConnector) -> None:
    for key in (("x",), RedisKey("a:b"), RedisKey("../x"), RedisKey("")):
        with pytest.raises(InvalidKeyError):
            connector.get(key)  # type: ignore[arg-type]
