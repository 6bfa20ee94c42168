"""Events survive the wire, and what is no event is refused whatever it is."""

from __future__ import annotations

import contextlib
import pickle
import struct
import zlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxystore.store.reference import StoreReference
from proxystore_patterns import errors
from proxystore_patterns.errors import BadEventError, EventEncodingError
from proxystore_patterns.streams import (
    EndOfStreamEvent,
    EventBatch,
    NewObjectEvent,
    NewObjectKeyEvent,
    bytes_to_event,
    event_to_bytes,
)

ATOMS = (
    st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.floats(allow_nan=False)
)
HASHABLE = st.none() | st.booleans() | st.integers() | st.text() | st.binary()
PLAIN = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.dictionaries(st.sampled_from(["$b", "$t", "$d", "a"]), inner, max_size=2)
    ),
    max_leaves=8,
)
METADATA = st.dictionaries(st.text(), PLAIN, max_size=3)
NUMBERED = {"metadata": METADATA, "producer": st.text(), "sequence": st.integers(0, 2**64 - 1)}
OBJECTS = st.builds(NewObjectEvent, topic=st.text(), obj=st.binary(), **NUMBERED)
ADDRESSES = st.text() | st.tuples(st.text(), st.dictionaries(st.text(), PLAIN, max_size=2))
KEYS = st.builds(
    NewObjectKeyEvent,
    topic=st.text(),
    key=st.lists(PLAIN, max_size=3).map(tuple),
    store=st.builds(
        StoreReference, ADDRESSES, st.text(), st.dictionaries(st.text(), ATOMS, max_size=2)
    ),
    evict=st.booleans(),
    **NUMBERED,
)
EVENTS = (
    OBJECTS
    | KEYS
    | st.builds(EndOfStreamEvent, st.text(), st.text())
    | st.builds(EventBatch, st.text(), st.lists(OBJECTS | KEYS, max_size=3))
)


@given(EVENTS)
def test_an_event_survives_the_wire(event: Any) -> None:
    assert event == bytes_to_event(event_to_bytes(event))


@given(st.binary())
def test_what_is_no_event_is_refused(data: bytes) -> None:
    with pytest.raises(BadEventError):
        bytes_to_event(data)


@given(EVENTS, st.data())
def test_a_changed_event_is_refused_or_differs_only_in_its_body(event: Any, data: Any) -> None:
    message = bytearray(event_to_bytes(event))
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] ^= data.draw(st.integers(1, 255))
    try:
        found = bytes_to_event(bytes(message))
    except BadEventError:
        return
    # Bodies have checksums of their own.
    assert isinstance(found, (NewObjectEvent, EventBatch))
    assert found.topic == event.topic


@given(EVENTS, st.integers(1, 60))
def test_a_cut_event_is_refused(event: Any, missing: int) -> None:
    message = event_to_bytes(event)
    with pytest.raises(BadEventError):
        bytes_to_event(message[: max(len(message) - missing, 0)])
    with pytest.raises(BadEventError):
        bytes_to_event(message + b"x" * missing)


@given(st.integers(0, 255), st.binary(max_size=40), st.binary(max_size=40), st.integers(0, 3))
@example(4, b'[{},{"$t":["k"]},{"$t":[{"$t":[1,2]},"n",{},true]}]', b"", 0)
@example(4, b'[{},["k"],{"$t":["u","n",{},true]}]', b"", 0)
@example(4, b"[{}]", b"", 0)
@example(3, b"[1]", b"", 0)
@example(3, b"[" * 5000, b"", 0)
@example(2, b"", b"PsEv\1\2", 1)
@example(2, b"", b"", 1)
@example(3, b'{"$d":[[[],1]]}', b"", 0)
@example(3, b"1" * 5000, b"", 0)
@example(1, b'{"$d":[["t"]]}', b"", 0)
@example(1, b"", b"body", 0)
def test_a_well_framed_head_of_a_stranger_is_refused_or_is_an_event(
    kind: int, plain: bytes, body: bytes, number: int
) -> None:
    header = struct.pack("<4sBBHHIQQ", b"PsEv", 1, kind, 1, 1, len(plain), len(body), number)
    head = b"tp" + plain
    checksum = struct.pack("<I", zlib.crc32(header + head))
    with contextlib.suppress(BadEventError):
        bytes_to_event(header + checksum + head + body)


@pytest.mark.parametrize("topic", ["t" * 70_000, "\ud800"])
def test_a_topic_that_no_event_can_carry_is_refused(topic: str) -> None:
    with pytest.raises(EventEncodingError, match="topic"):
        event_to_bytes(NewObjectEvent(topic, b""))


def test_a_batch_in_a_batch_is_refused() -> None:
    inner: Any = EventBatch("t", [])
    with pytest.raises(BadEventError, match="kind is 2"):
        bytes_to_event(event_to_bytes(EventBatch("t", [inner])))


def test_a_newer_version_is_named() -> None:
    message = bytearray(event_to_bytes(EndOfStreamEvent("t")))
    message[4] = 9
    with pytest.raises(BadEventError, match="version 9"):
        bytes_to_event(bytes(message))


def test_a_pickle_is_not_opened() -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return pytest.fail, ("unpickled",)

    with pytest.raises(BadEventError):
        bytes_to_event(pickle.dumps(Bomb()))


def test_metadata_that_is_not_plain_is_named() -> None:
    with pytest.raises(EventEncodingError, match="type object"):
        event_to_bytes(NewObjectEvent("t", b"", {"what": object()}))


@pytest.mark.parametrize(
    "error",
    [
        errors.EndOfStreamError("t"),
        errors.ProducersLostError("t", "gone"),
        errors.TopicClosedError("t"),
        errors.StreamTimeoutError("t", "message", 1.5),
        errors.StreamFullError("t", 10, 1.5),
        errors.BrokerUnavailableError("redis", "gone", "Start it."),
        errors.StreamCapabilityError("seek()", "Queue", "replay"),
        errors.BadEventError("cut"),
        errors.EventEncodingError("metadata", "an object"),
        errors.EventObjectMissingError("t", "k", "s"),
        errors.ForbiddenStoreError("t", "file:///x"),
    ],
)
def test_errors_survive_pickling(error: Exception) -> None:
    copied = pickle.loads(pickle.dumps(error))
    assert type(error) is type(copied)
    assert str(error) == str(copied)
