"""Filters: what of a stream to leave out, by the metadata of its events."""

from __future__ import annotations

import random
from typing import Protocol

from proxystore_patterns.streams._events import Metadata

__all__ = ["Filter", "NullFilter", "SamplingFilter"]


class Filter(Protocol):
    """Says which events to leave out."""

    def __call__(self, metadata: Metadata) -> bool:
        """`True` leaves the event out; its object, if it was to be evicted, is."""
        ...


class NullFilter:
    """Leaves nothing out."""

    def __call__(self, metadata: Metadata) -> bool:
        return False


class SamplingFilter:
    """Leaves out a random part of the events.

    Args:
        p: The probability that an event is left out, 0 to 1.
        seed: Makes the choice the same each time.

    Raises:
        ValueError: ``p`` is no probability.
    """

    def __init__(self, p: float, *, seed: int | None = None) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"SamplingFilter({p}) was asked for: give a p from 0 to 1.")
        self._p = p
        # Not for secrets.
        self._random = random.Random(seed)  # noqa: S311

    def __call__(self, metadata: Metadata) -> bool:
        return self._random.random() < self._p
