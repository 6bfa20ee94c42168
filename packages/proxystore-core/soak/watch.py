"""What a process holds, and whether it holds more and more."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

__all__ = ["Usage", "growth"]

_PROC = Path("/proc/self")


class Usage(NamedTuple):
    """Of one process, at one moment; all 0 where there is no /proc."""

    descriptors: float = 0
    mappings: float = 0
    private_nbytes: float = 0
    """RssAnon: memory that no other process shares."""

    @classmethod
    def of_this_process(cls) -> Self:
        if not _PROC.exists():
            return cls()
        status = dict(line.split(":", 1) for line in (_PROC / "status").read_text().splitlines())
        return cls(
            len(os.listdir(_PROC / "fd")),
            (_PROC / "maps").read_text().count("\n"),
            int(status["RssAnon"].split()[0]) * 1024,
        )


def growth(samples: Sequence[float]) -> float:
    """How much the median of the last quarter is above that of the second quarter.

    The first quarter is left out: allocators and caches fill. 0 for fewer than 8 samples.
    """
    quarter = len(samples) // 4
    if quarter < 2:
        return 0
    before, after = samples[quarter : 2 * quarter], samples[-quarter:]
    return statistics.median(after) - statistics.median(before)
