"""Options, configs and URLs: what each makes, and what is refused with a sentence."""

from __future__ import annotations

import ipaddress
import threading
from pathlib import Path
from typing import Any

import pytest

from proxystore.errors import (
    ConfigError,
    ConnectorUnavailableError,
    SecretNotFoundError,
)
from proxystore.secrets import generate_secret
from proxystore_connectors_zmq import ZMQConnector


def test_a_url_gives_an_equal_connector(networked: ZMQConnector) -> None:
    for made in (
        ZMQConnector.from_url(networked.url),
        ZMQConnector.from_config(networked.config()),
    ):
        assert networked.url == made.url
        assert networked.config() == made.config()
        assert not made.is_owner
        made.close()


def test_a_config_has_what_differs_from_the_defaults() -> None:
    with ZMQConnector(namespace="given", max_nbytes=1 << 20, timeout=3.5) as connector:
        config = connector.config()
        assert {"namespace", "node", "max_nbytes", "timeout"} == set(config)
        assert connector.url.startswith("zmq:///given?max_nbytes=1048576&node=")
        assert config == ZMQConnector.from_url(connector.url).config()


def test_a_url_without_a_node_is_one_of_this_node() -> None:
    with ZMQConnector(namespace="short") as owner:
        assert owner.config() == ZMQConnector.from_url("zmq:///short").config()


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"namespace": 5},
        {"namespace": "../x"},
        {"namespace": "n", "hom": "h:1"},
        {"namespace": "n", "home": "nowhere"},
        {"namespace": "n", "home": "h:70000"},
        {"namespace": "n", "home": 5},
        {"namespace": "n", "home": "h:0"},
        {"namespace": "n", "node": "here"},
        {"namespace": "n", "node": 5},
        {"namespace": "n", "secret": 5},
        {"namespace": "n", "timeout": 0},
        {"namespace": "n", "timeout": "soon"},
        {"namespace": "n", "timeout": float("inf")},
        {"namespace": "n", "max_nbytes": -1},
        {"namespace": "n", "max_nbytes": 1.5},
        {"namespace": "n", "max_nbytes": "1 GB"},
    ],
)
def test_a_wrong_config_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        ZMQConnector.from_config(config)


@pytest.mark.parametrize(
    "url",
    [
        "zmq://",
        "zmq:///",
        "zmq:///a/b",
        "http:///n",
        "zmq:///n#x",
        "zmq:///n?x=1",
        "zmq://h/n",
        "zmq://[bad",
        "zmq://[bad/n",
        "zmq:///n?timeout=inf",
        "zmq:///n?max_nbytes=1.5",
        "zmq:///n?max_nbytes=lots",
    ],
)
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        ZMQConnector.from_url(url)


@pytest.mark.parametrize("make", ["option", "url", "user"])
def test_a_secret_in_the_clear_is_refused_and_not_repeated(make: str) -> None:
    with pytest.raises(ConfigError) as caught:
        if make == "option":
            ZMQConnector(address="127.0.0.1", secret="hunter2")
        elif make == "url":
            ZMQConnector.from_url("zmq://h:1/n?secret=hunter2")
        else:
            ZMQConnector.from_url("zmq://me:hunter2@h:1/n")
    assert "hunter2" not in str(caught.value)


def test_a_number_of_bytes_can_be_written_as_numbers_are() -> None:
    with ZMQConnector(namespace="sized", max_nbytes=1.5e9) as connector:  # type: ignore[arg-type]
        assert 1_500_000_000 == connector.config()["max_nbytes"]
        for url in ("zmq:///sized?max_nbytes=1.5e9", "zmq:///sized?max_nbytes=1500000000"):
            assert connector.config() == ZMQConnector.from_url(url).config()


@pytest.mark.parametrize(
    "options",
    [
        {"namespace": 5},
        {"address": 5},
        {"interface": 5},
        {"address": "127.0.0.1", "interface": "lo"},
        {"address": "0.0.0.0"},
        {"address": "::"},
        {"address": "::ffff:0.0.0.0"},
        {"address": "fe80::1"},
        {"address": "nosuch.invalid"},
        {"timeout": float("inf")},
        {"timeout": None},
        {"max_nbytes": float("inf")},
    ],
    ids=str,
)
def test_an_option_that_cannot_be_is_refused_and_leaves_nothing(
    options: dict[str, Any], runtime: Path
) -> None:
    before = sorted(runtime.iterdir())
    with pytest.raises(ConfigError, match="|".join(options)):
        ZMQConnector(**options)
    assert before == sorted(runtime.iterdir())


def test_a_range_past_all_numbers_is_empty(connector: ZMQConnector) -> None:
    key = connector.put(b"bytes")
    assert b"" == bytes(connector.get_range(key, 1 << 70, 1) or b"")
    assert b"ytes" == bytes(connector.get_range(key, 1, 1 << 70) or b"")


@pytest.mark.parametrize("timeout", [1e10, 1e300, float("inf")])
def test_a_wait_may_be_as_long_as_one_likes(connector: ZMQConnector, timeout: float) -> None:
    key = connector.new_key()
    setting = threading.Timer(0.05, connector.set, (key, b"x"))
    setting.start()
    assert connector.wait(key, timeout)
    setting.join()


@pytest.mark.parametrize(("timeout", "error"), [("x", TypeError), (float("nan"), ValueError)])
def test_what_is_no_timeout_is_refused(
    connector: ZMQConnector, timeout: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="timeout is a number of seconds"):
        connector.wait(connector.new_key(), timeout)


def test_other_nodes_can_reach_it_by_ipv6(other_runtime: Path) -> None:
    with ZMQConnector(address="::1") as owner:
        assert owner.config()["home"].startswith("[::1]:")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PROXYSTORE_RUNTIME_DIR", str(other_runtime))
            far = ZMQConnector.from_url(owner.url)
        with far:
            key = far.put(b"far")
            assert far.config()["home"] in owner.url
            assert key.where.rpartition("@")[2].startswith("[::1]:")
            assert b"far" == bytes(owner.get(key) or b"")
            assert b"near" == bytes(far.get(owner.put(b"near")) or b"")


@pytest.fixture
def link_local() -> str:
    """An address of this node that is one of a single link, with the interface."""
    for line in Path("/proc/net/if_inet6").read_text().splitlines():
        digits, _, _, scope, _, interface = line.split()
        if scope == "20":
            address = ipaddress.IPv6Address(bytes.fromhex(digits))
            return f"{address}%{interface}"
    pytest.skip("no interface of this node has a link-local address")


@pytest.mark.slow
def test_other_nodes_can_reach_it_by_an_address_of_their_link(
    other_runtime: Path, link_local: str
) -> None:
    with ZMQConnector(address=link_local) as owner:
        assert owner.config()["home"].startswith(f"[{link_local}]:")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PROXYSTORE_RUNTIME_DIR", str(other_runtime))
            far = ZMQConnector.from_url(owner.url)
        with far:
            assert b"far" == bytes(owner.get(far.put(b"far")) or b"")
            assert b"near" == bytes(far.get(owner.put(b"near")) or b"")


def test_a_home_that_does_not_resolve_is_reported_at_once() -> None:
    generate_secret("zmq")
    with ZMQConnector.from_url("zmq://nosuch.invalid:5555/n") as connector:
        for call in (lambda: connector.put(b"x"), lambda: connector.get(connector.new_key())):
            with pytest.raises(ConnectorUnavailableError, match=r"nosuch\.invalid.* resolve"):
                call()


def test_an_interface_gives_its_address_and_an_unknown_one_names_those_there_are() -> None:
    with ZMQConnector(interface="lo") as connector:
        assert connector.config()["home"].startswith("127.0.0.1:")
    with pytest.raises(ConfigError, match="lo"):
        ZMQConnector(interface="nosuch0")


def test_a_port_alone_is_one_namespace_for_all_processes_of_the_node() -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with ZMQConnector(port) as owner, ZMQConnector(port) as other:
        assert f"127.0.0.1:{port}" == owner.config()["home"] == other.config()["home"]
        assert owner.is_owner
        assert not other.is_owner
        assert b"shared" == bytes(other.get(owner.put(b"shared")) or b"")


def test_a_port_that_is_taken_is_reported_and_leaves_nothing(
    networked: ZMQConnector, runtime: Path
) -> None:
    port = int(networked.config()["home"].rpartition(":")[2])
    with pytest.raises(ConnectorUnavailableError) as caught:
        ZMQConnector(port)
    assert str(caught.value) == (
        f"Cannot use store process zmq/port-{port}: it cannot listen on 127.0.0.1:{port} "
        f"(Address already in use). Give an address of this node and a port that nobody uses, "
        f"or no port for any that is free."
    )
    assert not Path(runtime, f"zmq-port-{port}").exists()


def test_an_address_of_another_node_is_reported(runtime: Path) -> None:
    before = sorted(runtime.iterdir())
    with pytest.raises(ConnectorUnavailableError, match=r"192\.0\.2\.1.*assign.*of this node"):
        ZMQConnector(address="192.0.2.1")
    assert before == sorted(runtime.iterdir())


@pytest.mark.parametrize("secret", ["missing", "empty"])
def test_an_owner_without_its_secret_is_told_so_and_starts_nothing(
    secret: str, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(runtime.iterdir())
    if secret == "empty":
        monkeypatch.setenv("SECRET_OF_A_TEST", "")
    with pytest.raises(SecretNotFoundError, match=r"env:SECRET_OF_A_TEST.*zmq/guarded"):
        ZMQConnector(address="127.0.0.1", namespace="guarded", secret="env:SECRET_OF_A_TEST")
    assert before == sorted(runtime.iterdir())


def test_an_owner_whose_home_cannot_have_a_secret_is_told_so(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(runtime.iterdir())
    monkeypatch.setenv("PROXYSTORE_HOME", "/dev/null")
    with pytest.raises(ConnectorUnavailableError, match="PROXYSTORE_HOME"):
        ZMQConnector(address="127.0.0.1")
    assert before == sorted(runtime.iterdir())


@pytest.mark.parametrize("port", [-1, 65536, 70_000, True, "localhost"])
def test_what_is_no_port_is_refused(port: Any) -> None:
    with pytest.raises(ConfigError, match="0 to 65535"):
        ZMQConnector(port)


@pytest.mark.slow
def test_two_that_take_any_port_share_nothing() -> None:
    with ZMQConnector(0) as one, ZMQConnector(0) as other:
        assert one.config()["namespace"] != other.config()["namespace"]
        assert one.url != other.url
