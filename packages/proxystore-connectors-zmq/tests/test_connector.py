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
)
from proxystore.payload import Buffers
from proxystore.serving import OVERHEAD_NBYTES, Announcement, Place
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
    for where in ("../etc", "a/b", "x" * 9, "abcdefgh@", "abcdefgh@a b:1", None, 5):
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
        {"namespace": "n", "node": "here"},
        {"namespace": "n", "timeout": 0},
        {"namespace": "n", "timeout": "soon"},
        {"namespace": "n", "max_nbytes": -1},
    ],
)
def test_a_wrong_config_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        ZMQConnector.from_config(config)


@pytest.mark.parametrize(
    "url",
    ["zmq://", "zmq:///", "zmq:///a/b", "http:///n", "zmq:///n#x", "zmq:///n?x=1", "zmq://h/n"],
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


def test_address_and_interface_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="give one"):
        ZMQConnector(address="127.0.0.1", interface="lo")


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


def test_a_port_that_is_taken_is_reported(networked: ZMQConnector) -> None:
    port = int(networked.config()["home"].rpartition(":")[2])
    with pytest.raises(ConnectorUnavailableError, match="Address already in use"):
        ZMQConnector(port)
    assert not Place("zmq", f"port-{port}").is_served()
    ZMQConnector(namespace=f"port-{port}").close()


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
