"""Batches of a `ShmConnector`: one pass over what is small, all of it or nothing."""

from __future__ import annotations

import gc
import sys
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxystore.connectors._shm.slabs import LARGEST_SLOT
from proxystore.connectors.shm import ShmConnector, ShmKey
from proxystore.errors import ClosedError, InvalidKeyError, MediumGoneError
from proxystore.payload import Buffers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="slabs need shared memory")


@pytest.fixture
def connector() -> Iterator[ShmConnector]:
    with ShmConnector() as connector:
        yield connector


def _pattern(number: int, nbytes: int) -> bytes:
    return bytes([number % 251]) * nbytes


class _CountingLock:
    """Counts how often the lock inside is taken."""

    def __init__(self, lock: Any) -> None:
        self.lock, self.taken = lock, 0

    def __enter__(self) -> None:
        self.taken += 1
        self.lock.acquire()

    def __exit__(self, *exc: object) -> None:
        self.lock.release()


def test_a_batch_of_small_objects_takes_the_lock_once(connector: ShmConnector) -> None:
    connector.put(b"x" * 100)
    connector.get_batch([connector.put(b"x" * 100)])
    slabs = connector._open_slabs()
    slabs.changing.mutex = counting = _CountingLock(slabs.changing.mutex)
    keys = connector.put_batch([b"x" * 100] * 500)
    assert counting.taken == 1
    assert connector.get_batch(keys) == [b"x" * 100] * 500
    assert counting.taken == 1


@settings(max_examples=25)
@given(
    sizes=st.lists(
        st.sampled_from([0, 1, 128, 129, 4000, LARGEST_SLOT, LARGEST_SLOT + 1, 200_000]),
        max_size=30,
    ),
    data=st.data(),
)
def test_batches_keep_order_whatever_the_sizes(sizes: list[int], data: st.DataObject) -> None:
    with ShmConnector() as connector:
        expected = [_pattern(number, nbytes) for number, nbytes in enumerate(sizes)]
        parts = [Buffers((each[:10], each[10:])) for each in expected]
        keys = connector.put_batch(parts)
        assert len(set(keys)) == len(keys)
        gone = data.draw(st.sets(st.sampled_from(range(len(keys))))) if keys else set()
        for number in gone:
            connector.evict(keys[number])
        asked = data.draw(st.lists(st.sampled_from(range(len(keys))))) if keys else []
        assert connector.get_batch([keys[number] for number in asked]) == [
            None if number in gone else expected[number] for number in asked
        ]


def test_replaced_objects_come_with_the_others(connector: ShmConnector) -> None:
    keys = connector.put_batch([b"a", b"b", b"c"])
    connector.replace(keys[1], b"B" * 100_000)
    assert connector.get_batch(keys) == [b"a", b"B" * 100_000, b"c"]


def test_each_object_of_a_batch_is_memory_of_its_own(connector: ShmConnector) -> None:
    (key,) = connector.put_batch([b"abc"])
    one, two = connector.get_batch([key, key])
    assert isinstance(one, bytearray)
    one[0] = 0
    assert (two, connector.get(key)) == (b"abc", b"abc")


def test_objects_of_a_batch_expire_together(connector: ShmConnector) -> None:
    keys = connector.put_batch([b"small", b"large" * 100_000], ttl=1000)
    assert all(entry.expires is not None for entry in connector.entries())
    assert all(connector.touch(key, 0.000001) for key in keys)
    assert connector.get_batch(keys) == [None, None]


@pytest.mark.parametrize("nbytes", [10, 100_000], ids=["small", "large"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_batch_that_fails_leaves_nothing(
    connector: ShmConnector, nbytes: int, place: int
) -> None:
    payloads: list[Any] = [b"small", b"large" * 100_000]
    payloads.insert(place, [1] * nbytes)
    with pytest.raises(TypeError):
        connector.put_batch(payloads)
    assert list(connector.entries()) == []


class _Interrupting(bytes):
    """Is interrupted the second time that it is measured: when it is stored, not when sorted."""

    n_measured = 0

    def __len__(self) -> int:
        self.n_measured += 1
        if self.n_measured > 1:
            raise KeyboardInterrupt
        return 200_000


def test_a_batch_that_is_interrupted_leaves_nothing(connector: ShmConnector) -> None:
    with pytest.raises(KeyboardInterrupt):
        connector.put_batch([b"before", _Interrupting(), b"after"])
    assert list(connector.entries()) == []


def test_what_a_batch_finds_no_room_for_goes_to_disk() -> None:
    with ShmConnector(max_nbytes=150_000) as connector, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        payloads = [_pattern(number, 1000) for number in range(200)]
        keys = connector.put_batch(payloads)
        assert {key.slot >= 0 for key in keys} == {True, False}
        assert connector.get_batch(keys) == payloads


def test_a_batch_in_the_midst_of_another_call_takes_files_of_its_own(
    connector: ShmConnector,
) -> None:
    with connector._open_slabs().changing:
        keys = connector.put_batch([b"a", b"b"])
        assert [key.slot for key in keys] == [-1, -1]
        assert connector.get_batch(keys) == [b"a", b"b"]


class _Evicting:
    """Evicts an object when it is collected, as owned proxies and lifetimes do."""

    def __init__(self, connector: ShmConnector, key: ShmKey) -> None:
        self.itself = self
        weakref.finalize(self, connector.evict, key)


def test_a_finalizer_may_evict_in_the_midst_of_a_batch(connector: ShmConnector) -> None:
    threshold = gc.get_threshold()
    expected: dict[ShmKey, bytes] = {}
    try:
        gc.set_threshold(1)
        for number in range(10):
            for key in connector.put_batch([b"goes"] * 10):
                _Evicting(connector, key)
            payloads = [_pattern(number + n, 300) for n in range(10)]
            expected |= dict(zip(connector.put_batch(payloads), payloads, strict=True))
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    assert connector.get_batch(list(expected)) == list(expected.values())
    assert len(list(connector.entries())) == len(expected) == 100


def test_a_batch_after_the_directory_was_cleared_is_found() -> None:
    with ShmConnector() as owner:
        other = ShmConnector.from_url(owner.url)
        old = other.put_batch([b"old"] * 3)
        folder = Path(owner.config()["store_dir"])
        Path(folder, "of others").touch()
        owner.close()
        assert other.get_batch(old) == [None] * 3
        new = other.put_batch([b"new"] * 3)
        assert other.get_batch([*old, *new]) == [None] * 3 + [b"new"] * 3
        other.close()
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def test_a_medium_that_is_gone_is_told() -> None:
    with ShmConnector() as owner:
        keys = owner.put_batch([b"a"])
        other = ShmConnector.from_url(owner.url)
        assert other.get_batch(keys) == [b"a"]
    with pytest.raises(MediumGoneError):
        other.get_batch(keys)
    with pytest.raises(MediumGoneError):
        other.put_batch([b"b"])
    other.close()
    with pytest.raises(ClosedError):
        owner.put_batch([b"c"])


def test_something_that_is_no_key_is_refused(connector: ShmConnector) -> None:
    keys: list[Any] = [*connector.put_batch([b"a"]), "b"]
    with pytest.raises(InvalidKeyError):
        connector.get_batch(keys)
