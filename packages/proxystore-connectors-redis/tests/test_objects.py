"""Large objects, times to live, ranges and memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxystore.payload import Buffers
from proxystore_connectors_redis import RedisConnector, RedisKey

_PART = 1_200_000


@pytest.fixture
def parted(connector: RedisConnector, monkeypatch: pytest.MonkeyPatch) -> RedisConnector:
    """A connector that splits objects of more than 1.2 MB."""
    monkeypatch.setattr(RedisConnector, "_part_nbytes", _PART)
    return connector


@pytest.fixture
def client(server: Any) -> Any:
    with server.client() as client:
        yield client


def _pattern(nbytes: int) -> bytes:
    return (bytes(range(251)) * (nbytes // 251 + 1))[:nbytes]


def _names(connector: RedisConnector, client: Any) -> list[bytes]:
    return sorted(client.keys(f"ps:{connector.config()['namespace']}:*"))


def _read(connector: RedisConnector, key: RedisKey) -> bytes:
    found = connector.get(key)
    assert found is not None
    return bytes(found)


_MIB = 1 << 20


@pytest.mark.parametrize(
    "nbytes",
    # Around what one request brings, what the next ones do, and where memory comes from.
    [
        *(32_732, 32_768, 32_769, _MIB, _MIB + 65_536, _MIB + 65_537, 2 * _MIB + 65_537),
        *(4 * _MIB, 5_000_000),
    ],
)
def test_an_object_comes_back_however_many_requests_it_takes(
    connector: RedisConnector, nbytes: int
) -> None:
    key = connector.put(_pattern(nbytes))
    assert _read(connector, key) == _pattern(nbytes)
    assert [_pattern(nbytes)] == [bytes(found or b"") for found in connector.get_batch([key])]


@pytest.mark.parametrize("nbytes", [_PART - 1, _PART, _PART + 1, 2 * _PART, 3 * _PART + 7])
def test_an_object_in_parts_is_one_object(
    parted: RedisConnector, client: Any, nbytes: int
) -> None:
    key = parted.put(Buffers([_pattern(nbytes)[:700_000], b"", _pattern(nbytes)[700_000:]]))
    parts = -(-nbytes // _PART) if nbytes > _PART else 0
    assert len(_names(parted, client)) == 1 + parts
    assert _read(parted, key) == _pattern(nbytes)
    parted.evict(key)
    assert _names(parted, client) == []


def test_batches_mix_objects_with_and_without_parts(parted: RedisConnector) -> None:
    sizes = [5, 2 * _PART, 0, _PART + 9, 70_000, 5_000_000]
    keys = parted.put_batch([_pattern(nbytes) for nbytes in sizes])
    gone = parted.put(b"gone")
    parted.evict(gone)
    found = parted.get_batch([*keys, gone])
    assert [_pattern(nbytes) for nbytes in sizes] == [bytes(each or b"") for each in found[:-1]]
    assert found[-1] is None


@pytest.mark.parametrize(("before", "after"), [(10, 3 * _PART), (3 * _PART, 10), (2 * _PART,) * 2])
def test_replace_leaves_no_part_of_what_was_there(
    parted: RedisConnector, client: Any, before: int, after: int
) -> None:
    key = parted.put(_pattern(before), ttl=500)
    parted.replace(key, _pattern(after))
    assert _read(parted, key) == _pattern(after)
    names = _names(parted, client)
    assert len(names) == 1 + (-(-after // _PART) if after > _PART else 0)
    assert all(400 < client.ttl(name) <= 560 for name in names)


def test_touch_reaches_every_part(parted: RedisConnector, client: Any) -> None:
    key = parted.put(_pattern(3 * _PART))
    assert {client.ttl(name) for name in _names(parted, client)} == {-1}
    assert parted.touch(key, 100)
    assert all(90 < client.ttl(name) <= 160 for name in _names(parted, client))
    assert parted.touch(key, None)
    assert {client.ttl(name) for name in _names(parted, client)} == {-1}


def test_a_part_that_is_gone_is_damage_and_no_hang(parted: RedisConnector, client: Any) -> None:
    from proxystore.errors import CorruptObjectError

    key = parted.put(_pattern(3 * _PART))
    client.delete(_names(parted, client)[2])
    for read in (lambda: parted.get(key), lambda: parted.get_batch([key])):
        with pytest.raises(CorruptObjectError, match="maxmemory-policy"):
            read()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offset=st.integers(0, 3 * _PART), length=st.integers(0, 3 * _PART))
def test_a_range_of_parts_is_a_slice(parted: RedisConnector, offset: int, length: int) -> None:
    key, data = RedisKey("ranged"), _pattern(2 * _PART + 77)
    if not parted.exists(key):
        parted.set(key, data)
    found = parted.get_range(key, offset, length)
    assert found is not None
    assert bytes(found) == data[offset : offset + length]


@pytest.mark.parametrize("ttl", [1e-9, 0.0004, 1e12, float("inf")])
def test_the_shortest_and_the_longest_lives_are_taken(
    connector: RedisConnector, ttl: float
) -> None:
    key = connector.put(b"x", ttl=ttl)
    connector.touch(key, ttl)
    other = connector.new_key()
    connector.set(other, b"x", ttl=ttl)
    if ttl > 1:
        assert connector.exists(key)
        assert connector.exists(other)


@pytest.mark.parametrize("ttl", [0, -1, float("nan")])
def test_a_ttl_that_is_none_is_refused(connector: RedisConnector, ttl: float) -> None:
    for call in (lambda: connector.put(b"x", ttl=ttl), lambda: connector.touch(RedisKey("k"), ttl)):
        with pytest.raises(ValueError, match="ttl"):
            call()


def test_a_payload_that_is_none_stores_nothing(connector: RedisConnector, client: Any) -> None:
    with pytest.raises(TypeError):
        connector.put_batch([b"good", 5])  # type: ignore[list-item]
    assert _names(connector, client) == []


def test_large_results_are_private_writable_memory(connector: RedisConnector) -> None:
    key = connector.put(_pattern(5_000_000))
    first, second = connector.get(key), connector.get(key)
    assert first is not None
    assert second is not None
    memoryview(first)[:] = bytes(5_000_000)
    assert bytes(second) == _pattern(5_000_000)


_MEASURED = """
import sys, threading
from pathlib import Path
from proxystore_connectors_redis import RedisConnector
RedisConnector._part_nbytes = 40_000_000

def private():
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024

connector, peak, done = RedisConnector.from_url(sys.argv[1]), 0, threading.Event()
connector.put(b"x")
data = bytes(100_000_000) if sys.argv[2] == "put" else None
before = private()

def watch():
    global peak
    while not done.wait(0.001):
        peak = max(peak, private())

watching = threading.Thread(target=watch)
watching.start()
key = connector.new_key("large")
found = connector.set(key, data) if data is not None else connector.get(key)
done.set()
watching.join()
print((max(peak, private()) - before) / 1e8)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to measure")
def test_a_client_needs_no_more_memory_than_the_object(connector: RedisConnector) -> None:
    def share(how: str) -> float:
        command = [sys.executable, "-c", _MEASURED, connector.url, how]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert share("put") < 0.1
    assert 0.95 < share("get") < 1.1
