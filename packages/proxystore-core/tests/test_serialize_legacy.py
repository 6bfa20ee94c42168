"""Objects of the older system are read; its layout is ``IDENT + newline + payload``."""

from __future__ import annotations

import io
import pickle

import cloudpickle
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxystore.errors import CorruptObjectError, ForbiddenSerializerError, SerializationError
from proxystore.serialize import SAFE_SERIALIZERS, deserialize


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return b"NP\n" + file.getvalue()


def polars_object(frame: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.write_ipc(file)
    return b"PL\n" + file.getvalue()


@given(st.binary())
def test_bytes_are_read(data: bytes) -> None:
    assert deserialize(b"BS\n" + data, allow=SAFE_SERIALIZERS) == data


@given(st.text())
def test_text_is_read(text: str) -> None:
    assert deserialize(b"US\n" + text.encode(), allow=SAFE_SERIALIZERS) == text


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.zeros((0, 3)),
        np.array(3),
        np.array(["a", "bc"]),
        np.zeros(2, [("a", "i4"), ("b", "f8")]),
        np.zeros(2, [("\u00e9\u4e2d", "i4")]),
    ],
    ids=["C", "Fortran", "empty", "0-d", "text", "structure", "version 3 header"],
)
@pytest.mark.filterwarnings("ignore:Stored array in format 3.0")
def test_arrays_are_read_and_can_be_written(array: np.ndarray) -> None:
    found = deserialize(npy(array), allow=SAFE_SERIALIZERS)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()
    assert found.flags.writeable
    assert found.flags.aligned


def test_arrays_of_objects_are_read_where_pickle_is_allowed() -> None:
    data = npy(np.array([1, "a", None], object))
    assert deserialize(data).tolist() == [1, "a", None]
    with pytest.raises(ForbiddenSerializerError, match="'pickle' is not allowed"):
        deserialize(data, allow=SAFE_SERIALIZERS)


def test_frames_are_read() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    pd.testing.assert_frame_equal(frame, deserialize(b"PD\n" + pickle.dumps(frame, 5)))
    polars_frame = pl.DataFrame({"a": [1, 2]})
    found = deserialize(polars_object(polars_frame))
    assert found.equals(polars_frame)


def test_pickles_and_cloudpickles_are_read() -> None:
    assert deserialize(b"PK\n" + pickle.dumps({"a": 1})) == {"a": 1}
    assert deserialize(b"CP\n" + cloudpickle.dumps(lambda: 7))() == 7


@pytest.mark.parametrize("head", [b"PK\n", b"PD\n", b"CP\n"])
def test_pickles_are_refused_unless_allowed(head: bytes) -> None:
    with pytest.raises(ForbiddenSerializerError):
        deserialize(head + pickle.dumps(1), allow=SAFE_SERIALIZERS)


@pytest.mark.parametrize(
    "data",
    [
        b"NP\n",
        b"NP\nnot an array at all",
        npy(np.arange(10))[:-1],
        npy(np.arange(10)) + b"x",
        npy(np.arange(10)).replace(b"(10,)", b"(1e9)"),
        npy(np.arange(10)).replace(b"(10,)", b"(99999999999,)"),
        b"NP\n\x93NUMPY\x02\x00\xff\xff\xff\x7f{}",
        b"US\n\xff",
        b"PK\nnot a pickle",
        b"PL\nnot arrow",
        b"PK\n",
    ],
)
def test_damaged_objects_are_serialization_errors(data: bytes) -> None:
    with pytest.raises(SerializationError):
        deserialize(data)


def test_an_array_that_claims_more_than_there_is_is_not_given_memory() -> None:
    with pytest.raises(SerializationError) as caught:
        deserialize(npy(np.arange(10)).replace(b"(10,), }      ", b"(99999999999,), }"[:17]))
    assert not isinstance(caught.value.__cause__, MemoryError)


def test_corrupt_arrays_say_so() -> None:
    with pytest.raises(CorruptObjectError, match="does not begin as an"):
        deserialize(b"NP\nnot an array at all")
