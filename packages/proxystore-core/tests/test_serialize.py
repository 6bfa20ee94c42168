"""What `serialize` and `deserialize` promise of objects."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import subprocess
import sys
import threading
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from proxystore.payload import Buffers
from proxystore.serialize import SerializationError, deserialize, is_bytes_like, serialize

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.binary()
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
    hnp.complex_number_dtypes(endianness="?"),
    hnp.datetime64_dtypes(),
    hnp.timedelta64_dtypes(),
    hnp.byte_string_dtypes(),
    hnp.unicode_string_dtypes(endianness="?"),
    hnp.nested_dtypes(hnp.integer_dtypes() | hnp.floating_dtypes(), max_itemsize=64),
)


@dataclasses.dataclass
class Sample:
    name: str
    values: np.ndarray


class Text(str):
    __slots__ = ("language",)


class Tagged(np.ndarray):
    pass


def through(obj: object, **options: object) -> object:
    return deserialize(serialize(obj).join(), **options)


def assert_same_array(expected: np.ndarray, found: object) -> None:
    assert type(found) is type(expected)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


@pytest.mark.slow
@given(PLAIN)
def test_plain_objects_come_back_equal_and_of_the_same_type(obj: object) -> None:
    found = through(obj)
    assert found == obj
    assert type(found) is type(obj)


@pytest.mark.parametrize("obj", [b"", bytearray(), "", None, (), {}, "\ud800", bytearray(b"ab")])
def test_empty_and_odd_built_ins_come_back(obj: object) -> None:
    found = through(obj)
    assert found == obj
    assert type(found) is type(obj)


@pytest.mark.slow
@given(hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, min_side=0, max_side=4)), st.booleans())
@settings(deadline=None)
def test_arrays_of_any_dtype_and_shape_come_back(array: np.ndarray, fortran: bool) -> None:
    array = np.asarray(array, order="F" if fortran else "C")
    found = through(array)
    assert_same_array(array, found)
    assert found.flags.f_contiguous == array.flags.f_contiguous
    assert found.flags.c_contiguous == array.flags.c_contiguous


@pytest.mark.parametrize(
    "array",
    [
        np.arange(20)[::2],
        np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
        np.arange(12).reshape(3, 4)[:, 1:3],
        np.broadcast_to(np.arange(3), (4, 3)),
    ],
    ids=["strided", "transposed", "cut", "broadcast"],
)
def test_arrays_with_gaps_come_back_contiguous(array: np.ndarray) -> None:
    found = through(array)
    assert_same_array(array, found)
    assert found.flags.c_contiguous


def test_a_read_only_array_is_stored_and_comes_back_writable() -> None:
    array = np.arange(5)
    array.flags.writeable = False
    found = through(array)
    found += 1
    assert found.tolist() == [1, 2, 3, 4, 5]


def test_aligned_structures_keep_their_padding() -> None:
    dtype = np.dtype([("a", "i1"), ("b", "f8"), ("c", "i2", (2,))], align=True)
    found = through(np.ones(3, dtype))
    assert found.dtype == dtype
    assert found.dtype.isalignedstruct


def test_arrays_of_objects_come_back() -> None:
    array = np.array([1, "a", None, [2]], dtype=object)
    assert through(array).tolist() == [1, "a", None, [2]]


def test_masks_of_masked_arrays_survive() -> None:
    array = np.ma.masked_array(np.arange(4.0), mask=[0, 1, 0, 1])
    found = through(array)
    assert found.mask.tolist() == [False, True, False, True]
    assert found.sum() == 2.0


@pytest.mark.parametrize(
    "obj",
    [
        np.arange(3).view(Tagged),
        np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        Text("hi"),
        collections.OrderedDict(a=1),
        dt.datetime(2026, 11, 22, tzinfo=dt.UTC),
        np.float32(1.5),
    ],
    ids=lambda obj: type(obj).__name__,
)
def test_subclasses_keep_their_type(obj: object) -> None:
    found = through(obj)
    assert type(found) is type(obj)
    assert np.array_equal(found, obj)


def test_a_dataclass_with_an_array_comes_back() -> None:
    found = through(Sample("x", np.arange(10_000)))
    assert isinstance(found, Sample)
    assert_same_array(np.arange(10_000), found.values)


def test_pandas_frames_come_back() -> None:
    frame = pd.DataFrame({"a": range(5000), "b": np.ones(5000), "c": ["x"] * 5000})
    pd.testing.assert_frame_equal(frame, through(frame))


def test_what_pickle_cannot_do_goes_to_cloudpickle() -> None:
    factor = 3
    assert through(lambda x: x * factor)(2) == 6


@pytest.mark.parametrize(
    "view",
    [
        memoryview(b"abc"),
        memoryview(np.arange(6.0).reshape(2, 3)),
        memoryview(np.arange(10))[::2],
        memoryview(b""),
        memoryview(np.array(7)),
        memoryview(np.zeros(0)),
    ],
    ids=["bytes", "2-d", "strided", "empty", "0-d", "no items"],
)
def test_memoryviews_keep_format_and_shape(view: memoryview) -> None:
    found = through(view)
    assert (found.format, found.shape) == (view.format, view.shape)
    assert found.tolist() == view.tolist()


@pytest.mark.parametrize("obj", [threading.Lock(), [threading.Lock()]])
def test_what_nothing_can_serialize_names_its_type_and_what_to_do(obj: object) -> None:
    with pytest.raises(SerializationError, match="register_serializer") as caught:
        serialize(obj)
    assert f"{type(obj).__module__}.{type(obj).__qualname__}" in str(caught.value)
    assert isinstance(caught.value.__cause__, TypeError)


@pytest.mark.parametrize("view", [np.zeros(2, ">i4").data, np.zeros((2, 0)).data])
def test_memoryviews_that_cannot_come_back_as_they_were_are_refused(view: memoryview) -> None:
    with pytest.raises(SerializationError, match=r"memoryview of shape .*tobytes"):
        serialize(view)


def test_a_reduce_that_raises_is_a_serialization_error() -> None:
    class Broken:
        def __reduce__(self) -> object:
            raise RuntimeError("not today")

    with pytest.raises(SerializationError, match="RuntimeError: not today"):
        serialize(Broken())


class RaisesOnLoad:
    def __reduce__(self) -> object:
        return int, ("not a number",)


def test_a_loader_that_fails_is_a_serialization_error_with_its_cause() -> None:
    with pytest.raises(SerializationError, match="'pickle' failed: ValueError") as caught:
        through(RaisesOnLoad())
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_module_that_is_missing_where_it_is_read_is_named() -> None:
    data = serialize(Sample("x", np.arange(3))).join()
    with pytest.raises(SerializationError, match=r"cannot be imported here.*no_such_mod") as caught:
        deserialize(data.replace(__name__.encode(), _same_length(__name__)), verify=False)
    assert isinstance(caught.value.__cause__, ImportError)


def _same_length(name: str) -> bytes:
    return b"no_such_module_xxxxxxxxxxxxxxxx"[: len(name)]


# --- memory -------------------------------------------------------------------


@pytest.mark.parametrize("nested", [False, True], ids=["array", "in a dict"])
def test_serializing_aliases_arrays(nested: bool) -> None:
    array = np.ones(100_000)
    buffers = serialize({"a": array} if nested else array)
    assert any(np.shares_memory(array, np.frombuffer(view, np.uint8)) for view in buffers)
    assert all(view.readonly for view in buffers)


def read(nested: bool, data: object, *, readonly: bool) -> np.ndarray:
    found = deserialize(data, readonly=readonly)
    return found["a"] if nested else found


@pytest.mark.parametrize("size", [10, 100_000])
@pytest.mark.parametrize("nested", [False, True], ids=["array", "in a dict"])
class TestReading:
    def stored(self, size: int, nested: bool) -> bytes:
        array = np.ones(size)
        return serialize({"a": array} if nested else array).join()

    def test_private_memory_is_aliased_and_writable(self, size: int, nested: bool) -> None:
        data = bytearray(self.stored(size, nested))
        found = read(nested, data, readonly=False)
        assert np.shares_memory(found, np.frombuffer(data, np.uint8))
        found += 1
        assert found[0] == 2

    def test_read_only_memory_is_copied_and_writable(self, size: int, nested: bool) -> None:
        data = self.stored(size, nested)
        found = read(nested, data, readonly=False)
        assert not np.shares_memory(found, np.frombuffer(data, np.uint8))
        found += 1
        assert read(nested, data, readonly=False)[0] == 1

    @pytest.mark.parametrize("kind", [bytes, bytearray])
    def test_a_read_only_view_is_never_a_copy(self, size: int, nested: bool, kind: type) -> None:
        data = kind(self.stored(size, nested))
        found = read(nested, data, readonly=True)
        assert np.shares_memory(found, np.frombuffer(data, np.uint8))
        with pytest.raises(ValueError, match="read-only"):
            found += 1


def test_what_was_serialized_is_not_changed_through_its_buffers() -> None:
    array = np.zeros(100_000)
    found = deserialize(serialize(array))
    found += 1
    assert not array.any()


def test_scattered_buffers_read_in_place() -> None:
    array = np.arange(100_000)
    found = deserialize(serialize(array), readonly=True)
    assert np.shares_memory(found, array)


@pytest.mark.slow
@given(st.lists(st.integers(0, 20_000), max_size=6), st.integers(1, 7))
@settings(deadline=None)
def test_buffers_cut_anywhere_read_like_the_joined_object(sizes: list[int], step: int) -> None:
    obj = [np.arange(size, dtype=np.uint8) for size in sizes]
    joined = serialize(obj).join()
    cuts = [0, *range(step, len(joined), 1000 * step + 37), len(joined)]
    cut = Buffers([joined[a:b] for a, b in pairwise(cuts)])
    for found in (deserialize(cut), deserialize(joined)):
        assert [a.tolist() for a in found] == [a.tolist() for a in obj]


def test_a_memoryview_into_the_middle_of_a_segment_is_read() -> None:
    data = serialize("text").join()
    segment = b"x" * 100 + data + b"y" * 100
    assert deserialize(memoryview(segment)[100 : 100 + len(data)]) == "text"


@pytest.mark.parametrize("data", ["text", 3, None, [b"a"], np.zeros(3)])
def test_what_is_not_bytes_is_a_value_error(data: object) -> None:
    with pytest.raises(ValueError, match=rf"type \w+\.{type(data).__name__}.*bytes"):
        deserialize(data)


def test_memory_with_gaps_is_a_serialization_error() -> None:
    with pytest.raises(SerializationError, match="contiguous"):
        deserialize(memoryview(bytes(200))[::2])


def test_bytes_like_is_bytes_bytearray_and_memoryview() -> None:
    assert all(map(is_bytes_like, (b"", bytearray(), memoryview(b""))))
    assert not any(map(is_bytes_like, ("", 1, None, [1])))


def test_threads_serialize_at_the_same_time() -> None:
    wrong: list[object] = []

    def work(n: int) -> None:
        for i in range(50):
            found = through({"n": n, "a": np.full(1000, i)})
            if found["n"] != n or found["a"][0] != i:
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []


@pytest.mark.slow
def test_importing_and_using_it_loads_no_library_on_its_behalf() -> None:
    code = (
        "import sys; from proxystore.serialize import *;"
        "[deserialize(serialize(x)) for x in (b'a', 'a', 1, {'a': [1]}, bytearray(b'a'))];"
        "heavy = {'numpy', 'pandas', 'polars', 'pyarrow', 'torch', 'cloudpickle',"
        "'importlib.metadata', 'pydantic'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
