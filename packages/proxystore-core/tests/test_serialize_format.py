"""What becomes of bytes that are not, or no longer, what `serialize` gave."""

from __future__ import annotations

import pickle
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from proxystore.errors import (
    CorruptObjectError,
    ForbiddenSerializerError,
    SerializationError,
    UnknownSerializerError,
    UnsupportedVersionError,
)
from proxystore.payload import Buffers
from proxystore.serialize import SAFE_SERIALIZERS, deserialize, serialize
from proxystore.serialize._format import decode, encode, verify_content

OBJECTS = [b"some bytes", "text", np.arange(40), [np.arange(9), np.ones(3)], {"a": 1}]
SAFE_OBJECTS = [
    b"some bytes",
    bytearray(b"abc"),
    "text \ud800 \u20ac",
    memoryview(np.arange(6).reshape(2, 3)),
    np.arange(12, dtype=">i2").reshape(3, 4),
    np.zeros(2, [("a", "i4"), ("b", "f8", (2,))]),
    np.array(["2026-11-22"], "M8[D]"),
]
joined = [serialize(obj).join() for obj in OBJECTS]
unchecked = [serialize(obj, checksum=False).join() for obj in SAFE_OBJECTS]


def with_header_check(data: bytes) -> bytes:
    """``data`` as somebody would write it who knows the format and means harm."""
    end = 40 + data[6] + 8 * int.from_bytes(data[8:12], "little")
    check = xxh3_64_intdigest(data[:12] + data[16:end]) & 0xFFFFFFFF
    return data[:12] + check.to_bytes(4, "little") + data[16:]


def patched(data: bytes, at: int, value: int, size: int) -> bytes:
    return with_header_check(data[:at] + value.to_bytes(size, "little") + data[at + size :])


@pytest.mark.parametrize("data", joined, ids=lambda data: str(len(data)))
def test_an_object_cut_anywhere_is_corrupt(data: bytes) -> None:
    for end in range(len(data)):
        with pytest.raises(CorruptObjectError):
            deserialize(data[:end])


@pytest.mark.parametrize("data", joined, ids=lambda data: str(len(data)))
def test_a_flipped_bit_anywhere_is_noticed(data: bytes) -> None:
    for at in range(len(data)):
        for bit in (1, 128):
            flipped = bytearray(data)
            flipped[at] ^= bit
            with pytest.raises((CorruptObjectError, UnsupportedVersionError)):
                deserialize(flipped)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty"),
        (b"\x93P", "ends after 2 bytes, within its header"),
        (joined[0][:30], "ends after 30 bytes, within its header of 40"),
        (joined[0][:-1], "1 bytes are missing at its end"),
        (joined[0] + b"xyz", "3 bytes follow its end"),
        (b"GIF89a, or so", "begins with 47 49 46 38 39 61"),
        (pickle.dumps([1]), "begins with 80 04 95"),
        (b"XX\nabc", "not an object of this format"),
        (joined[0][:-1] + b"!", "checksum of bytes .* differs"),
        (joined[0][:16] + b"\xff" * 8 + joined[0][24:], "header was changed"),
        (joined[0][:8] + b"\xff" * 4 + joined[0][12:], "table of 4294967295 buffers"),
    ],
)
def test_the_message_says_what_is_wrong(data: bytes, message: str) -> None:
    with pytest.raises(CorruptObjectError, match=message):
        deserialize(data)


def test_a_newer_version_is_named() -> None:
    data = bytearray(joined[0])
    data[4] = 7
    with pytest.raises(UnsupportedVersionError, match=r"version 7.*up to 1"):
        deserialize(data)


@pytest.mark.parametrize(("at", "value"), [(4, 0), (5, 0x83), (7, 1)])
def test_fields_that_version_1_does_not_know_are_corrupt(at: int, value: int) -> None:
    with pytest.raises(CorruptObjectError, match="do not go together"):
        deserialize(patched(joined[0], at, value, 1))


@pytest.mark.parametrize("value", [100, 2**40, 2**64 - 1])
@pytest.mark.parametrize("at", [24, 40 + len("bytes")])
def test_a_header_that_lies_about_lengths_is_corrupt_and_reserves_nothing(
    at: int, value: int
) -> None:
    hostile = patched(joined[0], at, value, 8)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptObjectError, match="end at byte"):
            deserialize(hostile)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_verifying_can_be_left_out() -> None:
    data = bytearray(joined[0])
    data[-1] ^= 1
    assert deserialize(data, verify=False) == b"some bytes"[:-1] + b"r"


def test_an_object_without_a_checksum_is_read_with_its_lengths_checked() -> None:
    data = serialize(b"abc", checksum=False).join()
    assert deserialize(data) == b"abc"
    with pytest.raises(CorruptObjectError):
        deserialize(data[:-1])


def test_a_checksum_can_be_kept_for_small_objects_only() -> None:
    whole = serialize(b"abcd").nbytes
    small, large = (serialize(b"abcd", checksum_below=whole + n).join() for n in (1, 0))
    with pytest.raises(CorruptObjectError, match="checksum"):
        deserialize(small[:-1] + b"x")
    assert deserialize(large[:-1] + b"x") == b"abcx"


def test_the_checksum_of_scattered_buffers_is_that_of_the_joined_object() -> None:
    obj = [np.arange(5000), "text", np.arange(3), np.ones(9999)]
    scattered = serialize(obj)
    assert len(scattered) > 1
    assert deserialize(scattered)[3].sum() == deserialize(scattered.join())[3].sum() == 9999


@given(st.lists(st.integers(0, 9000), max_size=8))
@settings(deadline=None)
def test_every_buffer_is_aligned_to_64_bytes(sizes: list[int]) -> None:
    obj = [np.full(size, 255, np.uint8) for size in sizes]
    data = np.frombuffer(serialize(obj).join(), np.uint8)
    base = data.__array_interface__["data"][0]
    for found in deserialize(data.data, readonly=True):
        if found.size:
            assert (found.__array_interface__["data"][0] - base) % 64 == 0


@given(
    st.lists(st.lists(st.sampled_from([0, 7, 4095, 4096, 9000]), min_size=1), max_size=4),
    st.sampled_from([0, 30, 5000]),
)
@settings(deadline=None, max_examples=30)
def test_pieces_of_any_sizes_are_read_back_in_order(sizes: list[list[int]], in_band: int) -> None:
    pieces = [[bytes([65 + i]) * n for i, n in enumerate(buffer)] for buffer in sizes]
    buffers = [Buffers(buffer) for buffer in pieces]
    data = encode("bytes", b"x" * in_band, buffers, checksum_below=None).join()
    frame = decode(memoryview(data))
    verify_content(memoryview(data), frame)
    assert [b"x" * in_band, *(b"".join(buffer) for buffer in pieces)] == [
        bytes(part) for part in (frame.in_band, *frame.buffers)
    ]


def test_a_thousand_small_arrays_are_few_buffers() -> None:
    assert len(serialize([np.arange(10) for _ in range(1000)])) <= 3


@pytest.mark.parametrize(
    ("in_band", "message"),
    [
        (b"<f8;C;3", "has 24 bytes and there are 32"),
        (b"<f8;C;5", "failed"),
        (b"<f8;C;-4", "failed"),
        (b"<f8;C;9999999999,9999999999", "failed"),
        (b"|O;C;4", "not a dtype"),
        (b"[('a', '|O')];C;4", "holds Python objects"),
        (b"__import__('os');C;4", "not a dtype"),
        (b"[(" * 5000 + b";C;4", "failed"),
        (b"<f8;C", "failed"),
    ],
)
def test_metadata_that_does_not_fit_an_array_is_a_serialization_error(
    in_band: bytes, message: str
) -> None:
    forged = encode("numpy.ndarray", in_band, (bytes(32),), checksum_below=None)
    with pytest.raises(SerializationError, match=message):
        deserialize(forged, allow=SAFE_SERIALIZERS)


@pytest.mark.parametrize("identifier", sorted(SAFE_SERIALIZERS - {"torch.Tensor"}))
@pytest.mark.parametrize("n_buffers", [0, 2])
def test_the_wrong_number_of_buffers_is_corrupt(identifier: str, n_buffers: int) -> None:
    forged = encode(identifier, b"B;C;1", (b"a",) * n_buffers, checksum_below=None)
    with pytest.raises(SerializationError):
        deserialize(forged)


@pytest.mark.parametrize("size", [3, 3000])
def test_buffers_of_any_item_type_are_counted_in_bytes(size: int) -> None:
    data = encode("bytes", b"", (np.ones((size, 2)),), checksum_below=None).join()
    assert deserialize(data) == np.ones((size, 2)).tobytes()


# --- only safe serializers ---------------------------------------------------------


class Bomb:
    def __reduce__(self) -> object:
        return pytest.fail, ("an object was unpickled that was not allowed",)


@pytest.mark.parametrize("wrap", [lambda bomb: bomb, lambda bomb: np.array([bomb], object)])
def test_a_pickle_is_refused_before_it_runs(wrap: object) -> None:
    data = serialize(wrap(Bomb())).join()
    with pytest.raises(ForbiddenSerializerError, match="'pickle' is not allowed") as caught:
        deserialize(data, allow=SAFE_SERIALIZERS)
    assert isinstance(caught.value, PermissionError)


@pytest.mark.parametrize("obj", SAFE_OBJECTS, ids=lambda obj: type(obj).__name__)
def test_safe_objects_pass_safe_serializers(obj: object) -> None:
    deserialize(serialize(obj), allow=SAFE_SERIALIZERS)


def test_pickle_and_cloudpickle_are_not_safe() -> None:
    assert {"pickle", "cloudpickle"}.isdisjoint(SAFE_SERIALIZERS)
    assert {"bytes", "str", "numpy.ndarray"} <= SAFE_SERIALIZERS


def test_an_unknown_serializer_is_named_with_the_nearest() -> None:
    data = joined[1].replace(b"str", b"stt", 1)
    with pytest.raises(UnknownSerializerError, match=r"'stt'.*Did you mean 'str'"):
        deserialize(with_header_check(data))


@given(st.binary(max_size=200))
@example(b"\x93PXS" + bytes(100))
def test_random_bytes_raise_nothing_but_serialization_errors(data: bytes) -> None:
    for candidate in (data, b"\x93PXS\x01" + data, b"NP\n" + data, b"US\n" + data):
        loads_or_is_refused(candidate)


@pytest.mark.slow
@given(st.sampled_from(unchecked), st.data())
@settings(deadline=None, max_examples=300)
def test_hostile_changes_raise_nothing_but_serialization_errors(
    data: bytes, draw: st.DataObject
) -> None:
    changed = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 4))):
        changed[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    changed = changed[: draw.draw(st.integers(0, len(data))) or None]
    loads_or_is_refused(bytes(changed))
    if len(changed) >= 40:
        resized = patched(bytes(changed), 16, len(changed), 8)
        loads_or_is_refused(with_header_check(resized))
        loads_or_is_refused(Buffers((resized[:50], resized[50:])))


def loads_or_is_refused(data: object) -> None:
    with suppress(SerializationError):
        deserialize(data, allow=SAFE_SERIALIZERS)
