"""What each optional capability promises: keys before objects, and new generations."""

from __future__ import annotations

import string
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxystore.abc import Capability, GenerationReader, Key
from proxystore.errors import InvalidKeyError, KeyAlreadySetError, KeyNotSetError
from proxystore.payload import Buffers
from proxystore.testing._claims import Suite
from proxystore.testing._objects import read
from proxystore.testing._samples import LARGE_NBYTES, MALFORMED_IDS, Content, examples, pattern
from proxystore.testing._subject import Subject

__all__ = ["DeferrableContract", "RangedContract", "ReplaceableContract"]

_ID_CHARACTERS = string.ascii_letters + string.digits + "_-"


def _try_set(connector: Subject, key: Key, payload: bytes) -> bool:
    """Whether this call was the one that set ``key``."""
    try:
        connector.set(key, payload)
    except KeyAlreadySetError:
        return False
    return True


class DeferrableContract(Suite):
    """new_key and set."""

    needs = frozenset({Capability.DEFERRABLE})

    def test_a_new_key_has_no_object(self, connector: Subject) -> None:
        key = connector.new_key()
        assert isinstance(key, connector.key_type)
        assert connector.exists(key) is False
        assert connector.get(key) is None

    @pytest.mark.parametrize("payload", [b"", b"x", Buffers([b"a", b"", b"b"])])
    def test_set_creates_the_object(self, connector: Subject, payload: bytes | Buffers) -> None:
        key = connector.new_key()
        connector.set(key, payload)
        assert Content(payload) == Content(read(connector, key))

    def test_set_copies_the_buffer(self, connector: Subject) -> None:
        key, source = connector.new_key(), bytearray(b"as it was")
        connector.set(key, source)
        source[:] = b"different"
        assert b"as it was" == read(connector, key)

    def test_new_keys_differ(self, connector: Subject) -> None:
        assert len({connector.new_key() for _ in range(50)}) == 50

    @given(object_id=st.text(_ID_CHARACTERS, min_size=1, max_size=64))
    @examples(20)
    def test_an_object_id_gives_one_key(self, connector: Subject, object_id: str) -> None:
        assert connector.new_key(object_id) == connector.new_key(object_id)
        assert connector.new_key(object_id) != connector.new_key()

    @pytest.mark.parametrize("object_id", ["a", "A" * 64, "-", "_", "0-a_Z"])
    def test_every_allowed_object_id_can_be_set(self, connector: Subject, object_id: str) -> None:
        key = connector.new_key(object_id)
        connector.set(key, object_id.encode())
        assert object_id.encode() == read(connector, connector.new_key(object_id))

    @pytest.mark.parametrize("object_id", MALFORMED_IDS)
    def test_a_malformed_object_id_is_refused(self, connector: Subject, object_id: str) -> None:
        with pytest.raises(InvalidKeyError):
            connector.new_key(object_id)

    def test_a_rebuilt_connector_makes_the_same_key(self, connector: Subject) -> None:
        connector.set(connector.new_key("shared"), b"x")
        with self.another(connector) as other:
            assert b"x" == read(other, other.new_key("shared"))

    def test_a_key_is_set_once(self, connector: Subject) -> None:
        key = connector.new_key()
        connector.set(key, b"first")
        with pytest.raises(KeyAlreadySetError):
            connector.set(key, b"second")
        assert b"first" == read(connector, key)

    def test_a_key_that_put_gave_cannot_be_set(self, connector: Subject) -> None:
        key = connector.put(b"first")
        with pytest.raises(KeyAlreadySetError):
            connector.set(key, b"second")
        assert b"first" == read(connector, key)

    def test_of_threads_that_set_one_key_exactly_one_wins(self, connector: Subject) -> None:
        threads = 6
        together = threading.Barrier(threads, timeout=30)
        key = connector.new_key()

        def contend(thread: int) -> bool:
            together.wait()
            return _try_set(connector, key, pattern(5000, thread))

        with ThreadPoolExecutor(threads) as pool:
            won = list(pool.map(contend, range(threads)))
        assert won.count(True) == 1
        assert Content(pattern(5000, won.index(True))) == Content(read(connector, key))


class ReplaceableContract(Suite):
    """replace and generation."""

    needs = frozenset({Capability.REPLACEABLE})

    def test_replace_exchanges_the_object(self, connector: Subject) -> None:
        key = connector.put(b"old")
        connector.replace(key, Buffers([b"n", b"ew and longer"]))
        assert b"new and longer" == read(connector, key)

    @pytest.mark.parametrize("nbytes", [16, LARGE_NBYTES])
    def test_a_buffer_survives_replace(self, connector: Subject, nbytes: int) -> None:
        key = connector.put(pattern(nbytes))
        old = connector.get(key)
        connector.replace(key, pattern(nbytes, 1))
        assert old is not None
        assert Content(pattern(nbytes)) == Content(old)
        assert Content(pattern(nbytes, 1)) == Content(read(connector, key))

    def test_replace_copies_the_buffer(self, connector: Subject) -> None:
        key, source = connector.put(b"old"), bytearray(b"as it was")
        connector.replace(key, source)
        source[:] = b"different"
        assert b"as it was" == read(connector, key)

    def test_an_absent_object_cannot_be_replaced(self, connector: Subject) -> None:
        key = connector.put(b"gone soon")
        connector.evict(key)
        with pytest.raises(KeyNotSetError):
            connector.replace(key, b"x")
        assert connector.exists(key) is False

    def test_the_generation_differs_after_each_replace(self, connector: Subject) -> None:
        key = connector.put(b"0")
        seen = [connector.generation(key)]
        for number in range(1, 8):
            connector.replace(key, str(number).encode())
            seen.append(connector.generation(key))
        assert None not in seen
        assert len(set(seen)) == len(seen)

    def test_the_generation_stays_while_the_object_does(self, connector: Subject) -> None:
        key = connector.put(b"x")
        before = connector.generation(key)
        connector.put(b"y")
        assert b"x" == read(connector, key)
        assert before == connector.generation(key)
        with self.another(connector) as other:
            assert before == other.generation(key)

    def test_an_absent_object_has_no_generation(self, connector: Subject) -> None:
        key = connector.put(b"x")
        connector.evict(key)
        assert connector.generation(key) is None

    def test_an_object_read_with_its_generation_is_the_same(self, connector: Subject) -> None:
        if not isinstance(connector, GenerationReader):
            # Nothing is promised, and a store asks for the two one after the other.
            return
        for nbytes in (0, 16, LARGE_NBYTES):
            key = connector.put(pattern(nbytes))
            for change in range(3):
                data, generation = connector.get_with_generation(key)
                assert data is not None
                assert Content(pattern(nbytes, change)) == Content(data)
                assert generation == connector.generation(key)
                connector.replace(key, pattern(nbytes, change + 1))
            connector.evict(key)
            assert (None, None) == connector.get_with_generation(key)

    def test_a_reader_sees_whole_generations_only(self, connector: Subject) -> None:
        nbytes, key = 50_000, connector.put(b"\x00" * 50_000)
        done = threading.Event()

        def replace_often() -> None:
            try:
                for number in range(1, 40):
                    connector.replace(key, bytes([number]) * nbytes)
            finally:
                done.set()

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(replace_often)
            while not done.is_set():
                found = read(connector, key)
                assert found == found[:1] * nbytes
            writing.result()


class RangedContract(Suite):
    """get_range."""

    needs = frozenset({Capability.RANGED})

    @given(offset=st.integers(0, 120), length=st.integers(0, 120))
    @examples(40)
    def test_a_range_is_a_slice(self, connector: Subject, offset: int, length: int) -> None:
        found = connector.get_range(connector.put(pattern(100)), offset, length)
        assert found is not None
        assert pattern(100)[offset : offset + length] == bytes(found)

    def test_a_range_of_a_large_object_is_a_slice(self, connector: Subject) -> None:
        key = connector.put(pattern(LARGE_NBYTES))
        for offset, length in ((0, LARGE_NBYTES), (4095, 2), (LARGE_NBYTES - 5, 100)):
            found = connector.get_range(key, offset, length)
            assert found is not None
            expected = pattern(LARGE_NBYTES)[offset : offset + length]
            assert Content(expected) == Content(found)

    @pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1), (-5, -5)])
    def test_a_negative_range_is_refused(
        self, connector: Subject, offset: int, length: int
    ) -> None:
        key = connector.put(b"abc")
        with pytest.raises(ValueError, match=r"."):
            connector.get_range(key, offset, length)

    def test_a_range_of_an_absent_object_is_none(self, connector: Subject) -> None:
        key = connector.put(b"abc")
        connector.evict(key)
        assert connector.get_range(key, 0, 1) is None
