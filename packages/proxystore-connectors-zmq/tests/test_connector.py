"""What this connector promises beyond the contract."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from proxystore.abc import Acknowledgement, Medium
from proxystore.errors import (
    ClosedError,
    MediumFullError,
    NotOwnerError,
    ObjectOnOtherHostError,
)
from proxystore.payload import Buffers
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
