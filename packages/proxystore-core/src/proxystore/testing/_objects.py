"""What holds for objects in every medium."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxystore.abc import Key
from proxystore.payload import Buffers, BytesLike, Payload
from proxystore.testing._claims import Suite
from proxystore.testing._samples import LARGE_NBYTES, PAYLOADS, SIZES, Content, examples, pattern
from proxystore.testing._subject import Subject

__all__ = ["BatchContract", "BufferContract", "ObjectContract"]


def read(connector: Subject, key: Key) -> bytes:
    """A private copy of an object that must be there."""
    found = connector.get(key)
    assert found is not None, f"get({key!r}) gave None for an object that was stored"
    return bytes(found)


class ObjectContract(Suite):
    """put, get, exists and evict."""

    @pytest.mark.parametrize("kind", PAYLOADS)
    def test_get_gives_what_was_put_as(self, connector: Subject, kind: str) -> None:
        payload = PAYLOADS[kind]()
        assert Content(payload) == Content(read(connector, connector.put(payload)))

    @pytest.mark.parametrize("nbytes", SIZES)
    def test_objects_of_every_size_come_back(self, connector: Subject, nbytes: int) -> None:
        assert Content(pattern(nbytes)) == Content(read(connector, connector.put(pattern(nbytes))))

    @given(data=st.binary(max_size=400))
    @examples(20)
    def test_get_gives_any_bytes_that_were_put(self, connector: Subject, data: bytes) -> None:
        assert data == read(connector, connector.put(data))

    def test_an_empty_object_is_an_object(self, connector: Subject) -> None:
        key = connector.put(b"")
        assert connector.exists(key) is True
        assert b"" == read(connector, key)
        assert [b""] == [bytes(found) for found in connector.get_batch([key]) if found is not None]

    def test_equal_payloads_get_two_keys(self, connector: Subject) -> None:
        first, second = connector.put(b"same"), connector.put(b"same")
        assert first != second
        connector.evict(first)
        assert b"same" == read(connector, second)

    def test_an_absent_object_is_none_and_no_error(self, connector: Subject) -> None:
        key = connector.put(b"gone soon")
        connector.evict(key)
        assert connector.get(key) is None
        assert connector.exists(key) is False

    def test_exists_follows_put_and_evict(self, connector: Subject) -> None:
        key = connector.put(b"x")
        assert connector.exists(key) is True
        connector.evict(key)
        assert connector.exists(key) is False

    def test_evicting_a_key_twice_is_not_an_error(self, connector: Subject) -> None:
        key = connector.put(b"x")
        connector.evict(key)
        connector.evict(key)

    def test_evict_removes_only_its_own_object(self, connector: Subject) -> None:
        kept, gone = connector.put_batch([b"kept", b"gone"])
        connector.evict(gone)
        assert b"kept" == read(connector, kept)

    @given(steps=st.lists(st.tuples(st.sampled_from(["put", "get", "evict"]), st.integers(0, 5))))
    @examples(15)
    def test_any_order_of_calls_agrees_with_a_dict(
        self, connector: Subject, steps: Sequence[tuple[str, int]]
    ) -> None:
        model: dict[Key, bytes | None] = {}
        for number, (step, which) in enumerate(steps):
            keys = list(model)
            if step == "put" or not keys:
                model[connector.put(pattern(number))] = pattern(number)
                continue
            key = keys[which % len(keys)]
            if step == "evict":
                connector.evict(key)
                model[key] = None
            assert connector.exists(key) is (model[key] is not None)
            found = connector.get(key)
            assert model[key] == (None if found is None else bytes(found))


class BufferContract(Suite):
    """Who may change which memory, and for how long it stays."""

    @pytest.mark.parametrize("nbytes", [16, LARGE_NBYTES])
    def test_put_copies_the_buffer(self, connector: Subject, nbytes: int) -> None:
        source = bytearray(pattern(nbytes))
        plain, scattered = connector.put(source), connector.put(Buffers([source]))
        source[:] = bytes(nbytes)
        assert Content(pattern(nbytes)) == Content(read(connector, plain))
        assert Content(pattern(nbytes)) == Content(read(connector, scattered))

    @pytest.mark.parametrize("nbytes", [16, LARGE_NBYTES])
    def test_a_buffer_survives_evict(self, connector: Subject, nbytes: int) -> None:
        key = connector.put(pattern(nbytes))
        found = connector.get(key)
        connector.evict(key)
        # New objects may move into the memory that the evicted one had.
        connector.put_batch([bytes(nbytes), bytes(nbytes)])
        assert found is not None
        assert Content(pattern(nbytes)) == Content(found)

    @pytest.mark.parametrize("nbytes", [16, LARGE_NBYTES])
    def test_a_buffer_survives_close(self, connector: Subject, nbytes: int) -> None:
        found = connector.get(connector.put(pattern(nbytes)))
        connector.close()
        assert found is not None
        assert Content(pattern(nbytes)) == Content(found)

    @pytest.mark.parametrize("nbytes", [16, LARGE_NBYTES])
    def test_what_a_reader_writes_nobody_else_sees(self, connector: Subject, nbytes: int) -> None:
        key = connector.put(pattern(nbytes))
        earlier, mine = connector.get(key), connector.get(key)
        assert earlier is not None
        assert mine is not None
        _scribble(mine)
        assert Content(pattern(nbytes)) == Content(earlier)
        assert Content(pattern(nbytes)) == Content(read(connector, key))


def _scribble(buffer: BytesLike) -> None:
    view = memoryview(buffer)
    if not view.readonly:
        view.cast("B")[:] = bytes(view.nbytes)


class BatchContract(Suite):
    """Batches are their single calls, in order."""

    def test_put_batch_gives_the_keys_in_order(self, connector: Subject) -> None:
        payloads: list[Payload] = [b"first", bytearray(b"second"), Buffers([b"thi", b"rd"]), b""]
        keys = connector.put_batch(payloads)
        assert isinstance(keys, list)
        assert [Content(p) for p in payloads] == [Content(read(connector, key)) for key in keys]

    def test_put_batch_gives_equal_payloads_two_keys(self, connector: Subject) -> None:
        assert len(set(connector.put_batch([b"same"] * 3))) == 3

    def test_get_batch_keeps_order_holes_and_duplicates(self, connector: Subject) -> None:
        one, gone, two = connector.put_batch([b"one", b"gone", b"two"])
        connector.evict(gone)
        found = connector.get_batch([two, gone, one, two, gone])
        expected = [b"two", None, b"one", b"two", None]
        assert expected == [None if entry is None else bytes(entry) for entry in found]

    def test_empty_batches_are_empty(self, connector: Subject) -> None:
        assert [] == list(connector.put_batch([]))
        assert [] == list(connector.get_batch([]))
