"""What this connector promises beyond the contract."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxystore.abc import Acknowledgement, Medium
from proxystore.errors import (
    ClosedError,
    ConfigError,
    ConnectorUnavailableError,
    MediumFullError,
    NotOwnerError,
    ObjectOnOtherHostError,
    SecretNotFoundError,
)
from proxystore.payload import Buffers
from proxystore.secrets import generate_secret
from proxystore.serving import OVERHEAD_NBYTES, Announcement
from proxystore.store import Store
from proxystore_connectors_zmq import ZMQConnector, ZMQKey
from proxystore_connectors_zmq._wire import CHUNK_NBYTES, INLINE_NBYTES


def test_a_store_opens_by_url_once_the_package_is_installed(connector: ZMQConnector) -> None:
    key = connector.put(b"bytes")
    with Store.from_url(connector.url) as store:
        assert bytes(store.connector.get(key)) == b"bytes"


def test_a_proxy_resolves_after_it_was_pickled(connector: ZMQConnector) -> None:
    with Store("results", connector) as store:
        wire = pickle.dumps(store.proxy([1, 2, 3], populate_target=False))
        assert len(wire) <= 200
        assert pickle.loads(wire) == [1, 2, 3]


@pytest.mark.parametrize(
    "nbytes",
    [INLINE_NBYTES, INLINE_NBYTES + 1, CHUNK_NBYTES, CHUNK_NBYTES + 1, 5 * CHUNK_NBYTES + 7],
)
def test_objects_around_the_limits_of_messages_come_back(
    connector: ZMQConnector, nbytes: int
) -> None:
    data = os.urandom(nbytes)
    key = connector.put(Buffers([data[:100], data[100:]]))
    found = connector.get(key)
    assert found is not None
    # Told apart in a few words, where pytest would explain megabytes.
    assert bytes(found) == data, "the object came back different"
    for start in (0, 99, nbytes // 2, nbytes - 5):
        part = connector.get_range(key, start, CHUNK_NBYTES + 50)
        assert part is not None
        assert bytes(part) == data[start : start + CHUNK_NBYTES + 50], f"from {start}"


def test_batches_mix_small_and_large_objects(connector: ZMQConnector) -> None:
    payloads = [os.urandom(n) for n in (10, CHUNK_NBYTES + 1, 0, 100_000, *[5] * 40)]
    found = connector.get_batch(connector.put_batch(payloads))
    assert [bytes(data or b"") for data in found] == payloads, "an object came back different"


def test_it_says_that_objects_are_in_memory_and_whose(
    connector: ZMQConnector, networked: ZMQConnector
) -> None:
    assert Acknowledgement.MEMORY is connector.acknowledges is networked.acknowledges
    assert Medium.SHARED_MEMORY is connector.medium
    assert Medium.NETWORK is networked.medium


def test_a_key_that_names_its_process_by_a_path_is_refused(connector: ZMQConnector) -> None:
    for where in ("", "../etc", "a/b", "x" * 9, "abcdefgh@", "abcdefgh@a b:1", None, 5):
        with pytest.raises(ValueError, match="is not a key"):
            connector.get(ZMQKey("id", where))  # type: ignore[arg-type]


# --- Configs and URLs -----------------------------------------------------------


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


# --- Ownership --------------------------------------------------------------------


def test_who_opens_an_existing_namespace_does_not_own_it(connector: ZMQConnector) -> None:
    with ZMQConnector(namespace=connector.config()["namespace"]) as other:
        key = other.put(b"x")
        with pytest.raises(NotOwnerError):
            other.close(clear=True)
    assert connector.exists(key)


def test_what_was_left_to_others_can_be_adopted(
    connector: ZMQConnector,
    process_of: Callable[[ZMQConnector], Announcement],
    eventually: Callable[[Callable[[], object]], bool],
    is_alive: Callable[[int], bool],
) -> None:
    pid = process_of(connector).pid
    key = connector.put(b"left")
    connector.close(clear=False)
    with ZMQConnector(namespace=connector.config()["namespace"], adopt=True) as adopted:
        assert adopted.is_owner
        assert b"left" == bytes(adopted.get(key) or b"")
    assert eventually(lambda: not is_alive(pid))


def test_what_was_left_to_others_ends_with_its_last_object(
    connector: ZMQConnector, eventually: Callable[[Callable[[], object]], bool], runtime: Path
) -> None:
    key = connector.put(b"left")
    connector.close(clear=False)
    with ZMQConnector.from_config(connector.config()) as other:
        assert other.exists(key)
        other.evict(key)
    namespace = connector.config()["namespace"]
    assert eventually(lambda: not Path(runtime, f"zmq-{namespace}").exists())


def test_an_owner_that_stored_nothing_leaves_nothing(runtime: Path) -> None:
    connector = ZMQConnector()
    namespace = connector.config()["namespace"]
    connector.close()
    assert not Path(runtime, f"zmq-{namespace}").exists()


def test_another_host_is_told_where_the_objects_are(connector: ZMQConnector) -> None:
    config = {**connector.config(), "node": "elsewhere/00000000"}
    with ZMQConnector.from_config(config) as other:
        for call in (lambda: other.put(b"x"), lambda: other.exists(other.new_key("a"))):
            with pytest.raises(ObjectOnOtherHostError, match="elsewhere"):
                call()


# --- Closing ----------------------------------------------------------------------


def test_closing_ends_a_wait(connector: ZMQConnector) -> None:
    connector.put(b"x")
    failures: list[BaseException] = []
    begun = threading.Event()

    def wait() -> None:
        begun.set()
        try:
            connector.wait(connector.new_key("never"))
        except ClosedError as error:
            failures.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    begun.wait(10)
    with ZMQConnector.from_config(connector.config()) as other:
        # So that the wait has had time to begin.
        assert not other.wait(other.new_key("nor-this"), timeout=0.05)
    connector.close()
    waiting.join(20)
    assert 1 == len(failures)


@pytest.mark.slow
def test_closing_under_threads_ends_their_calls_with_closed_error(connector: ZMQConnector) -> None:
    key = connector.put(os.urandom(1000))
    outcomes: list[str] = []
    together = threading.Barrier(5, timeout=30)

    def call() -> None:
        together.wait()
        try:
            while True:
                connector.get(key)
        except ClosedError:
            outcomes.append("closed")

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    together.wait()
    connector.close()
    for thread in threads:
        thread.join(20)
    assert ["closed"] * 4 == outcomes


def test_a_connector_that_nobody_closed_leaves_no_descriptors(connector: ZMQConnector) -> None:
    def use() -> None:
        other = ZMQConnector.from_config(connector.config())
        other.exists(other.put(b"x"))
        other.wait(other.new_key("never"), timeout=0.01)

    connector.put(b"x")
    use()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        use()
    assert before == len(os.listdir("/proc/self/fd"))


# --- Room -------------------------------------------------------------------------


def test_a_full_process_says_so_and_goes_on() -> None:
    room = 3 * CHUNK_NBYTES + 2 * OVERHEAD_NBYTES
    with ZMQConnector(max_nbytes=room) as connector:
        key = connector.put(bytes(2 * CHUNK_NBYTES + 1))
        for nbytes in (CHUNK_NBYTES, 2 * CHUNK_NBYTES):
            with pytest.raises(MediumFullError, match=f"{room} bytes are in use"):
                connector.put(bytes(nbytes))
        with pytest.raises(MediumFullError):
            connector.replace(key, bytes(2 * CHUNK_NBYTES))
        small = connector.put(b"still fits")
        connector.evict(key)
        connector.put(bytes(2 * CHUNK_NBYTES))
        assert b"still fits" == bytes(connector.get(small) or b"")


def test_empty_objects_do_not_fill_the_memory_for_nothing() -> None:
    with ZMQConnector(max_nbytes=10 * OVERHEAD_NBYTES) as connector:
        for _ in range(10):
            connector.put(b"")
        with pytest.raises(MediumFullError):
            connector.put(b"")


def test_a_batch_that_does_not_fit_stores_nothing() -> None:
    room = 100 + OVERHEAD_NBYTES
    with ZMQConnector(max_nbytes=room) as connector:
        with pytest.raises(MediumFullError):
            connector.put_batch([bytes(40), bytes(40), bytes(40)])
        connector.put(bytes(100))


@pytest.mark.parametrize("port", [-1, 65536, 70_000, True, "localhost"])
def test_what_is_no_port_is_refused(port: Any) -> None:
    with pytest.raises(ConfigError, match="0 to 65535"):
        ZMQConnector(port)


@pytest.mark.slow
def test_two_that_take_any_port_share_nothing() -> None:
    with ZMQConnector(0) as one, ZMQConnector(0) as other:
        assert one.config()["namespace"] != other.config()["namespace"]
        assert one.url != other.url
