"""Serializer of `polars.DataFrame`; imported only once polars is."""

from __future__ import annotations

import io
from collections.abc import Sequence

import polars as pl

from proxystore.errors import CorruptObjectError
from proxystore.serialize._builtin import only
from proxystore.serialize._contract import Dumped

__all__ = ["DataFrameSerializer", "read_frame"]


class DataFrameSerializer:
    """Data frames as an uncompressed Arrow IPC file: one copy out, one copy in.

    Not safe for objects of strangers, as `SAFE_SERIALIZERS` explains.
    """

    identifier = "polars.DataFrame"
    types = ("polars.dataframe.frame.DataFrame",)

    def dump(self, obj: pl.DataFrame) -> Dumped | None:
        if any(dtype == pl.Object for dtype in obj.dtypes):
            return None
        file = io.BytesIO()
        obj.write_ipc(file, compression="uncompressed")
        return b"", (file.getbuffer(),)

    def load(
        self, in_band: memoryview, buffers: Sequence[memoryview], *, readonly: bool
    ) -> pl.DataFrame:
        return read_frame(only(buffers))


def read_frame(data: memoryview) -> pl.DataFrame:
    """The frame in an Arrow IPC file.

    Raises:
        CorruptObjectError: polars gave up on it in a way that is not an
            `Exception`, and that would otherwise pass every handler.
    """
    try:
        return pl.read_ipc(io.BytesIO(data))
    except pl.exceptions.PanicException as exc:
        raise CorruptObjectError(f"polars cannot read its Arrow data ({exc})") from exc
