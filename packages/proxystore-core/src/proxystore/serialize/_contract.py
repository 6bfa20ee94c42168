"""What a serializer is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from proxystore.payload import Payload

__all__ = ["Dumped", "Serializer", "writable"]

Dumped: TypeAlias = tuple[bytes, Sequence[Payload]]
"""The in-band part (metadata, or a stream) and the out-of-band buffers.

A buffer given as `Buffers` is scattered memory that is read back as one.
"""


@runtime_checkable
class Serializer(Protocol):
    """Turns objects of some types into buffers and back.

    Both methods are called from several threads at once.
    """

    @property
    def identifier(self) -> str:
        """1 to 64 printable ASCII characters, in every object; for ever the same."""
        ...

    @property
    def types(self) -> tuple[str | type, ...]:
        """Exact types that `dump` is asked for, or their qualified names.

        A name spares importing the library until the first object of it turns
        up. Subclasses are not meant: what they add would be lost.
        """
        ...

    # Any: a serializer is asked only for objects of its own types.
    def dump(self, obj: Any) -> Dumped | None:
        """The parts of ``obj``, or `None` to leave this object to pickle.

        Buffers alias the memory of ``obj`` where that is possible; nobody
        writes to them.
        """
        ...

    def load(self, in_band: memoryview, buffers: Sequence[memoryview], *, readonly: bool) -> Any:
        """The object whose parts these are.

        Args:
            in_band: As dumped; read-only.
            buffers: As dumped, each aligned to 64 bytes from the start of the
                object. They alias the stored object; they are writable if that
                memory is the caller's own and ``readonly`` is false.
            readonly: Whether views that the result keeps may be read-only. If
                not, pass each buffer that it keeps through `writable`.

        Raises:
            SerializationError: The parts do not fit together. Whatever else is
                raised is reported as one, with its cause.
        """
        ...


def writable(buffer: memoryview) -> memoryview:
    """``buffer`` itself if it can be written to, or else a private copy of it."""
    return memoryview(bytearray(buffer)) if buffer.readonly else buffer
