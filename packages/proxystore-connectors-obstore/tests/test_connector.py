"""What this connector promises beyond the contract."""

from __future__ import annotations

import array
import asyncio
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proxystore.abc import Acknowledgement, Capability, Medium
from proxystore.connectors.load import connector_type, kind_of
from proxystore.errors import (
    CapabilityError,
    ConfigError,
    InvalidKeyError,
    MediumGoneError,
)
from proxystore.payload import Buffers
from proxystore.store import Store
from proxystore.testing import Peer
from proxystore_connectors_obstore import ObstoreConnector, ObstoreKey

PART = 5 << 20


# --- Stores -----------------------------------------------------------------


def test_a_store_opens_by_url(connector: ObstoreConnector) -> None:
    key = connector.put(b"bytes")
    with Store.from_url(connector.url) as store:
        assert bytes(store.connector.get(key) or b"") == b"bytes"


def test_a_proxy_resolves_in_another_process_and_carries_no_secret(
    connector: ObstoreConnector,
) -> None:
    with Store("results", ObstoreConnector.from_config(connector.config())) as store:
        wire = pickle.dumps(store.proxy([1, 2, 3], populate_target=False))
    assert b"not-for-anybody" not in wire
    code = "import pickle, sys; print(sum(pickle.loads(sys.stdin.buffer.read())))"
    done = subprocess.run([sys.executable, "-c", code], input=wire, capture_output=True, check=True)
    assert done.stdout == b"6\n"


def test_a_session_token_of_the_environment_is_not_sent_with_keys_that_were_given(
    s3_options: dict[str, Any], serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-somebody-else")
    heard: list[bytes] = []
    port = serve(lambda request: heard.append(request) or b"HTTP/1.1 404 No\r\n\r\n")
    options = s3_options | {"endpoint": f"http://127.0.0.1:{port}"}
    with ObstoreConnector.from_config(options) as connector, pytest.raises(MediumGoneError):
        connector.get(ObstoreKey("x"))
    assert b"Credential=identifier/" in heard[0]
    assert b"of-somebody-else" not in heard[0]


def test_credentials_are_no_part_of_a_stores_identity(connector: ObstoreConnector) -> None:
    file = connector.config() | {"access_key_id": "file:/a/id", "secret_access_key": "file:/b"}
    with Store("one", ObstoreConnector.from_config(connector.config())) as one:
        with Store("two", ObstoreConnector.from_config(file)) as two:
            assert one.identity == two.identity


@pytest.mark.parametrize("kind", ["obstore", "s3", "gs", "az", "obstore+file", "obstore+memory"])
def test_every_scheme_is_a_kind_of_this_connector(kind: str) -> None:
    assert connector_type(kind) is ObstoreConnector


def test_its_kind_is_one_whatever_the_scheme(tmp_path: Path) -> None:
    for url in ("s3://bucket/prefix", "gs://bucket/prefix", "obstore+file:///objects"):
        assert kind_of(ObstoreConnector.from_url(url)) == "obstore"


def test_large_arrays_come_back_writable_and_are_not_copied_again(
    connector: ObstoreConnector,
) -> None:
    data = array.array("d", range(300_000))
    found = connector.get(connector.put(Buffers([memoryview(data)])))
    assert isinstance(found, memoryview)
    assert not found.readonly
    assert found == memoryview(data).cast("B")


@pytest.mark.parametrize("nbytes", [1000, 3 << 20, 25 << 20])
def test_a_caller_may_resize_its_buffer_after_a_put(
    s3_options: dict[str, Any], nbytes: int
) -> None:
    with ObstoreConnector(**s3_options, part_nbytes=PART) as connector:
        data = bytearray(os.urandom(nbytes))
        key = connector.put(data)
        expected = bytes(data)
        data.extend(b"more")
        assert connector.get(key) == expected


# --- Parts and ranges -------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [1, 3])
def test_objects_of_many_parts_are_sent_and_received_whole(
    s3_options: dict[str, Any], moto: Any, parallel: int, prefix_of: Any
) -> None:
    data = os.urandom((23 << 20) + 7)
    with ObstoreConnector(**s3_options, part_nbytes=PART, parallel=parallel) as connector:
        key = connector.put(Buffers([data[:9], data[9 : 7 << 20], data[7 << 20 :]]))
        name = f"{prefix_of(connector)}/{key.object_id}"
        assert moto.client.head_object(Bucket="bucket", Key=name)["ETag"].endswith('-5"')
        assert connector.get(key) == data
        for offset, length in ((0, 6 << 20), (3, 12 << 20), ((22 << 20) + 1, 9 << 20)):
            assert connector.get_range(key, offset, length) == data[offset : offset + length]
        assert connector.get_batch([key, key]) == [data, data]


def test_in_parts_an_empty_object_is_none_the_less_an_object(s3_options: dict[str, Any]) -> None:
    with ObstoreConnector(**s3_options, parallel=2) as connector:
        key, expired = connector.put(b""), connector.put(b"", ttl=1e-6)
        assert connector.get(key) == b""
        assert connector.get(expired) is None
        assert connector.get(connector.new_key()) is None
        assert asyncio.run(connector.aget(key)) == b""
        assert asyncio.run(connector.aget(expired)) is None


def test_an_object_that_is_exchanged_while_it_is_read_is_read_whole(
    s3_options: dict[str, Any], moto: Any, forward: Any
) -> None:
    old, new = (bytes([n]) * (2 * PART) for n in (1, 2))
    with ObstoreConnector(**s3_options) as connector:
        key = connector.new_key()
        connector.set(key, old)
        forwarder = forward(moto.port)
        options = {"endpoint": forwarder.endpoint, "part_nbytes": PART, "parallel": 2}
        with ObstoreConnector.from_config(connector.config() | options) as reader:
            assert reader.exists(key)

            def exchange() -> None:
                connector.evict(key)
                connector.set(key, new)

            forwarder.before(b"bytes=5242880-", exchange)
            assert reader.get(key) == new


# --- Conditions, leases, rules ----------------------------------------------


def test_a_service_that_does_not_heed_conditions_is_noticed_when_it_is_opened(
    s3_options: dict[str, Any], moto: Any, forward: Any
) -> None:
    forwarder = forward(moto.port)
    # The header becomes one that means nothing, as for a service that does not know it.
    forwarder.replaced = (b"if-none-match", b"x-none-matched")
    options = s3_options | {"endpoint": forwarder.endpoint}
    with pytest.raises(ConfigError, match="conditional=False"):
        ObstoreConnector(**options)
    with ObstoreConnector(**options, conditional=False) as connector:
        assert Capability.DEFERRABLE not in connector.capabilities
        assert Capability.LEASABLE not in connector.capabilities
        assert connector.get(connector.put(b"x")) == b"x"
        for call in (connector.new_key, lambda: connector.put(b"x", ttl=1)):
            with pytest.raises(CapabilityError):
                call()
        careless = connector.config() | {"conditional": True}
        with ObstoreConnector.from_config(careless) as other:
            with pytest.raises(ConfigError, match="conditional=False"):
                other.put(b"x")


def test_an_expired_object_is_absent_and_its_key_can_be_set_again(
    connector: ObstoreConnector, moto: Any
) -> None:
    key = connector.new_key()
    connector.set(key, b"old", ttl=1e-6)
    assert connector.get(key) is None
    assert connector.get_range(key, 0, 1) is None
    assert connector.get_range(key, 5, 1) is None
    assert connector.touch(key, 100) is False
    connector.set(key, b"new", ttl=3600)
    assert connector.get(key) == b"new"


def test_touch_keeps_the_bytes(connector: ObstoreConnector) -> None:
    data = os.urandom(3 << 20)
    key = connector.put(data, ttl=3600)
    assert connector.touch(key, None)
    assert connector.get(key) == data
    assert connector.touch(key, 1e-6)
    assert connector.get(key) is None


def test_directories_have_no_leases(tmp_path: Path) -> None:
    with ObstoreConnector(f"obstore+file://{tmp_path}/objects") as connector:
        for call in (
            lambda: connector.put(b"x", ttl=1),
            lambda: connector.touch(connector.new_key(), 1),
        ):
            with pytest.raises(CapabilityError, match="leasable"):
                call()


def test_a_malformed_key_asks_nothing_of_the_service(connector: ObstoreConnector) -> None:
    for call in (connector.get, connector.exists, connector.evict):
        with pytest.raises(InvalidKeyError):
            call(ObstoreKey(".proxystore"))


# --- What is stated ---------------------------------------------------------


def test_each_service_states_where_its_bytes_live_and_what_they_survive() -> None:
    stated = {
        "s3://bucket/prefix": (Medium.NETWORK, Acknowledgement.DISK),
        "gs://bucket/prefix": (Medium.NETWORK, Acknowledgement.DISK),
        "az://container/prefix?account=name": (Medium.NETWORK, Acknowledgement.DISK),
        "obstore+file:///objects": (Medium.DISK, Acknowledgement.PROCESS),
        "obstore+memory://name": (Medium.PROCESS, Acknowledgement.MEMORY),
    }
    for url, expected in stated.items():
        connector = ObstoreConnector.from_url(url)
        assert expected == (connector.medium, connector.acknowledges)


@pytest.mark.slow
def test_an_object_moves_with_little_more_private_memory_than_it_has_bytes(
    connector: ObstoreConnector,
) -> None:
    nbytes = 48 << 20
    code = MEASURED.format(config=connector.config(), nbytes=nbytes)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    sent, received = map(int, done.stdout.split())
    assert sent < 0.3 * nbytes
    assert received < 1.3 * nbytes


MEASURED = """
import threading, time
from proxystore.payload import Buffers
from proxystore_connectors_obstore import ObstoreConnector

def private():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))

def most(call):
    peak, done = [0], threading.Event()
    def watch():
        while not done.wait(0.005):
            peak[0] = max(peak[0], private())
    before = private()
    watcher = threading.Thread(target=watch)
    watcher.start()
    found = call()
    done.set()
    watcher.join()
    return found, peak[0] - before

connector = ObstoreConnector.from_config({config!r})
connector.put(b"to begin with")
data = bytearray({nbytes})
key, sent = most(lambda: connector.put(Buffers([b"head", data])))
del data
found, received = most(lambda: connector.get(key))
assert found.nbytes == {nbytes} + 4
print(sent, received)
"""


def test_nothing_is_imported_and_nothing_opened_before_it_is_used() -> None:
    code = (
        "import sys; from proxystore_connectors_obstore import ObstoreConnector; "
        "ObstoreConnector.from_url('s3://bucket/prefix'); "
        "assert not {'obstore', 'boto3', 'numpy'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_peer_in_another_process_needs_the_secret_there(
    connector: ObstoreConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = connector.put(b"x")
    monkeypatch.setenv("OBSTORE_TEST_KEY", "")
    with Peer(connector) as peer, pytest.raises(LookupError, match="env:OBSTORE_TEST_KEY"):
        peer.call("get", key)
