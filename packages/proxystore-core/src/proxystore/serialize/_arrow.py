"""Serializer of `pyarrow.Table`; imported only once pyarrow is."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from proxystore.payload import Buffers, flat_view
from proxystore.serialize._builtin import only
from proxystore.serialize._contract import Dumped

__all__ = ["TableSerializer"]


class TableSerializer:
    """Tables as an Arrow IPC stream, whose columns alias memory on both sides.

    Loading looks at every offset and string once, for Arrow trusts them, and
    a hostile one would read outside the object. Arrow tables are immutable.
    """

    identifier = "pyarrow.Table"
    types = ("pyarrow.lib.Table",)

    def dump(self, obj: pa.Table) -> Dumped:
        sink = _Sink()
        with pa.PythonFile(sink, mode="w") as file, pa.ipc.new_stream(file, obj.schema) as stream:
            stream.write_table(obj)
        return b"", (Buffers(sink.written),)

    def load(
        self, in_band: memoryview, buffers: Sequence[memoryview], *, readonly: bool
    ) -> pa.Table:
        table = pa.ipc.open_stream(pa.py_buffer(only(buffers).toreadonly())).read_all()
        table.validate(full=True)
        return table


class _Sink:
    """A file that keeps what is written: Arrow hands over columns without a copy."""

    closed = False

    def __init__(self) -> None:
        self.written: list[memoryview] = []

    def write(self, data: bytes | pa.Buffer) -> int:
        view = flat_view(data)
        self.written.append(view)
        return view.nbytes

    def flush(self) -> None:
        """Arrow calls it; there is nothing to flush."""

    def close(self) -> None:
        """Arrow calls it; what was written stays."""
