"""All patterns in one table; each part has a module of its own."""

from __future__ import annotations

from collections.abc import Iterator

import patterns_executors
import patterns_futures
import patterns_ownership
import patterns_streams
from report import Row

_PARTS = (patterns_futures, patterns_ownership, patterns_streams, patterns_executors)


def measure(peer: str) -> Iterator[Row]:
    """Yield the rows one by one; `peer` is a Python that has `proxystore==1.1.0`."""
    for part in _PARTS:
        yield from part.measure(peer)
