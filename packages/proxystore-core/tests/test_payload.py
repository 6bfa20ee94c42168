from __future__ import annotations

import array
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxystore.payload import Buffers, as_buffers, as_bytes, flat_view, payload_nbytes


@given(st.lists(st.binary(max_size=20)))
def test_joining_gives_the_concatenation(parts: list[bytes]) -> None:
    buffers = Buffers(parts)
    assert buffers.join() == b"".join(parts)
    assert buffers.nbytes == sum(map(len, parts))
    assert len(buffers) == len(parts)


def test_buffers_alias_memory_and_are_read_only() -> None:
    memory = bytearray(b"abc")
    (view,) = Buffers((memory,))
    memory[0] = ord("x")
    assert bytes(view) == b"xbc"
    assert view.readonly


def test_a_slice_of_buffers_is_buffers() -> None:
    assert Buffers((b"a", b"b", b"c"))[1:].join() == b"bc"


@pytest.mark.parametrize(
    "memory",
    [
        array.array("d", [1.0, 2.0]),
        np.arange(6).reshape(2, 3),
        np.arange(6).reshape(2, 3).T,
        np.zeros((0, 3)),
        np.zeros(3, ">i4"),
        np.array(1.5),
    ],
    ids=["array", "C order", "Fortran order", "empty", "swapped", "0-d"],
)
def test_any_contiguous_memory_is_seen_as_bytes(memory: object) -> None:
    view = flat_view(memory)
    assert (view.ndim, view.format) == (1, "B")
    assert view.nbytes == memoryview(memory).nbytes


def test_memory_with_gaps_is_refused() -> None:
    with pytest.raises(BufferError, match="contiguous"):
        Buffers((np.arange(10)[::2],))


@pytest.mark.parametrize(
    "payload",
    [b"abcd", bytearray(b"abcd"), memoryview(b"abcd"), Buffers((b"ab", b"", b"cd"))],
    ids=["bytes", "bytearray", "memoryview", "buffers"],
)
def test_every_kind_of_payload_has_the_same_size_and_bytes(payload: object) -> None:
    assert payload_nbytes(payload) == 4
    assert as_bytes(payload) == b"abcd"
    assert as_buffers(payload).join() == b"abcd"


def test_the_size_is_in_bytes_not_items() -> None:
    assert payload_nbytes(memoryview(array.array("d", [1.0, 2.0]))) == 16


def test_bytes_and_buffers_are_not_copied_when_they_already_are() -> None:
    data, buffers = b"abcd", Buffers((b"ab",))
    assert as_bytes(data) is data
    assert as_buffers(buffers) is buffers


_IN_A_CYCLE = """
import gc
from proxystore.payload import Buffers

def failing():
    buffers = Buffers([memoryview(bytearray(1000))])
    try:
        raise ConnectionError
    except ConnectionError as error:
        kept = error  # The frame keeps the error, which keeps the frame.

for _ in range(100):
    failing()
gc.collect()
"""


def test_views_in_the_frames_of_an_error_are_collected_without_a_crash() -> None:
    done = subprocess.run([sys.executable, "-c", _IN_A_CYCLE], timeout=60, check=False)
    assert done.returncode == 0
