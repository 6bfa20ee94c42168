"""Arrow, polars and torch: libraries that are never imported on their behalf."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys

import numpy as np
import pytest

from proxystore.errors import CorruptObjectError, ForbiddenSerializerError, SerializationError
from proxystore.serialize import SAFE_SERIALIZERS, deserialize, serialize

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pl = pytest.importorskip("polars", reason="polars is not installed")

COLUMNS = {
    "i": [1, 2, None],
    "s": ["a", None, "\u20ac"],
    "l": [[1.0], [], None],
    "t": [dt.date(2026, 11, 22)] * 3,
}


@pytest.mark.parametrize("frame", [pl.DataFrame(COLUMNS), pl.DataFrame(), pl.DataFrame({"a": []})])
def test_polars_frames_come_back(frame: object) -> None:
    found = deserialize(serialize(frame))
    assert found.schema == frame.schema
    assert found.equals(frame)


def test_polars_frames_of_strangers_are_refused() -> None:
    with pytest.raises(ForbiddenSerializerError):
        deserialize(serialize(pl.DataFrame(COLUMNS)), allow=SAFE_SERIALIZERS)


def test_polars_frames_of_several_chunks_come_back() -> None:
    frame = pl.concat([pl.DataFrame(COLUMNS)] * 3, rechunk=False)
    assert deserialize(serialize(frame)).equals(frame)


def test_a_frame_outlives_the_bytes_it_came_from() -> None:
    data = bytearray(serialize(pl.DataFrame({"a": range(10_000)})).join())
    found = deserialize(data)
    data[:] = bytes(len(data))
    assert found["a"].sum() == 49_995_000


@pytest.mark.parametrize(
    "table",
    [
        pa.table(COLUMNS),
        pa.table({}),
        pa.table({"a": pa.chunked_array([[1, 2], [3]])}),
        pa.table({"a": np.arange(100_000)}).slice(10, 20),
        pa.table({"a": pa.array(["x", "y", "x"]).dictionary_encode()}),
        pa.table({"a": [1]}).replace_schema_metadata({"k": "v"}),
    ],
    ids=["columns", "empty", "chunks", "slice", "dictionary", "metadata"],
)
def test_arrow_tables_come_back(table: object) -> None:
    found = deserialize(serialize(table).join(), allow=SAFE_SERIALIZERS)
    assert found.schema.equals(table.schema, check_metadata=True)
    assert found.equals(table)


def test_a_slice_of_a_table_stores_only_the_slice() -> None:
    assert serialize(pa.table({"a": np.arange(100_000)}).slice(10, 20)).nbytes < 2000


def test_arrow_columns_alias_memory_on_both_sides() -> None:
    array = np.arange(100_000)
    buffers = serialize(pa.table({"a": array}))
    assert any(np.shares_memory(array, np.frombuffer(view, np.uint8)) for view in buffers)
    joined = buffers.join()
    column = deserialize(joined)["a"].chunk(0).to_numpy()
    assert np.shares_memory(column, np.frombuffer(joined, np.uint8))


def test_offsets_that_point_outside_a_hostile_table_are_noticed() -> None:
    data = bytearray(serialize(pa.table({"s": ["abc", "defg"]}), checksum=False).join())
    offsets = np.array([0, 3, 7], np.int32).tobytes()
    at = data.index(offsets)
    data[at : at + 12] = np.array([0, 3, 2**30], np.int32).tobytes()
    with pytest.raises(SerializationError, match=r"pyarrow\.Table"):
        deserialize(data)


@pytest.mark.parametrize("obj", [pl.DataFrame(COLUMNS), pa.table(COLUMNS)], ids=["polars", "arrow"])
def test_truncated_arrow_data_is_a_serialization_error(obj: object) -> None:
    inner = deserialize(serialize(serialize(obj).join()))
    with pytest.raises(CorruptObjectError):
        deserialize(inner[:-8])


@pytest.mark.slow
def test_a_library_that_is_missing_where_an_object_is_read_is_named(tmp_path: object) -> None:
    stored = tmp_path / "stored"
    stored.write_bytes(serialize(pa.table(COLUMNS)).join())
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from proxystore.serialize import *\n"
        "try: deserialize(open(sys.argv[1], 'rb').read())\n"
        "except SerializationError as exc: print(exc)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(stored)],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "'pyarrow.Table' cannot be used in this process" in done.stdout
    assert "Install the library" in done.stdout
