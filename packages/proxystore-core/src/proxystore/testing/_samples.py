"""Payloads, sizes and hypothesis settings that several suites use."""

from __future__ import annotations

import array
import functools
from collections.abc import Callable

from hypothesis import HealthCheck, settings
from xxhash import xxh3_64_hexdigest

from proxystore.payload import Buffers, Payload, as_bytes

__all__ = ["LARGE_NBYTES", "MALFORMED_IDS", "PAYLOADS", "SIZES", "Content", "examples", "pattern"]

LARGE_NBYTES = (1 << 20) + 3
"""Past the size at which connectors change from reading to mapping, and not a whole page."""

SIZES = (0, 1, 4095, 4096, 4097, 65535, 65537, LARGE_NBYTES)

MALFORMED_IDS = ("", "a" * 65, "a/b", "../x", "/x", ".", "..", "a b", "a\x00", "a\n", "\u00e9", "*")


def examples(count: int) -> settings:
    """Hypothesis settings under which inherited tests can use a fixture of one test."""
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
    )


class Content:
    """The bytes of an object, told apart in a few words.

    pytest explains how two `bytes` differ, which takes minutes for a megabyte
    where it does so in full (as with ``CI`` set), and looks like a hang.
    """

    def __init__(self, payload: Payload) -> None:
        self._data = as_bytes(payload)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Content) and self._data == other._data

    def __hash__(self) -> int:
        return hash(self._data)

    def __repr__(self) -> str:
        beginning = self._data[:16].hex(" ")
        return f"<{len(self._data)} bytes, xxh3 {xxh3_64_hexdigest(self._data)}: {beginning} ...>"


def pattern(nbytes: int, start: int = 0) -> bytes:
    """Bytes in which a shift, a hole or a cut shows."""
    period = _period(start % 256)
    return (period * (nbytes // len(period) + 1))[:nbytes]


@functools.cache
def _period(start: int) -> bytes:
    return bytes((start + i * 7 + i // 251) % 256 for i in range(4099))


PAYLOADS: dict[str, Callable[[], Payload]] = {
    "bytes": lambda: b"some bytes",
    "bytearray": lambda: bytearray(b"a bytearray"),
    "memoryview": lambda: memoryview(b"a view of bytes")[2:],
    "view of doubles": lambda: memoryview(array.array("d", [1.5, -2.0, 3.25])),
    "two-dimensional view": lambda: memoryview(pattern(24)).cast("B").cast("H", (3, 4)),
    "one buffer": lambda: Buffers([b"alone"]),
    "buffers, some empty": lambda: Buffers([b"", b"head", b"", bytearray(b"tail"), b""]),
    "buffers of doubles": lambda: Buffers([b"x", memoryview(array.array("d", [0.5, 1e300]))]),
    "no buffers": lambda: Buffers([]),
    "only empty buffers": lambda: Buffers([b"", b""]),
    # More than the 1024 that one writev(2) takes.
    "1500 buffers": lambda: Buffers([pattern(i % 5, i) for i in range(1500)]),
    "large buffers": lambda: Buffers([pattern(LARGE_NBYTES), b"", pattern(70001, 3)]),
}
