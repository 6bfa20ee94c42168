"""Medians with intervals, and ratios of two interleaved series."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A median and the 95 % bootstrap interval around it, in the unit of its samples."""

    median: float
    low: float
    high: float


def median_of(samples: Sequence[float]) -> Estimate:
    """The median of one series."""
    return _bootstrap([(sample,) for sample in samples], lambda rows: _median(rows, 0))


def ratio_of(theirs: Sequence[float], ours: Sequence[float]) -> Estimate:
    """How many times longer they take than we do: the ratio of medians.

    The two series were measured in turn, so pairs are resampled together and
    a drift of the machine that slows both does not widen the interval.
    """
    pairs = list(zip(theirs, ours, strict=True))
    return _bootstrap(pairs, lambda rows: _median(rows, 0) / _median(rows, 1))


def _median(rows: Sequence[tuple[float, ...]], column: int) -> float:
    return statistics.median(row[column] for row in rows)


def _bootstrap(
    rows: Sequence[tuple[float, ...]],
    statistic: Callable[[Sequence[tuple[float, ...]]], float],
) -> Estimate:
    draw = random.Random(0)
    resampled = sorted(statistic(draw.choices(rows, k=len(rows))) for _ in range(_RESAMPLES))
    low, high = resampled[int(0.025 * _RESAMPLES)], resampled[int(0.975 * _RESAMPLES)]
    return Estimate(statistic(rows), low, high)
