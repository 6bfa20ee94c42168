"""How much memory this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

__all__ = ["usable_nbytes"]

_CGROUPS = "/sys/fs/cgroup"


def usable_nbytes() -> int:
    """The memory of this machine, or the limit of its control group where that is less.

    Costs some small reads. Free or not: what others use is not subtracted.
    """
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([total, *_limits()])


def _limits() -> Iterator[int]:
    for path in _limit_files():
        with suppress(OSError, ValueError), open(path, encoding="ascii") as file:
            yield int(file.read())


def _limit_files() -> Iterator[str]:
    yield f"{_CGROUPS}/memory/memory.limit_in_bytes"
    with suppress(OSError), open("/proc/self/cgroup", encoding="utf-8") as table:
        for line in table:
            group = line.rstrip("\n").partition("::")[2]
            # The limits of all groups above hold too.
            while group:
                yield f"{_CGROUPS}{group.rstrip('/')}/memory.max"
                group = group.rpartition("/")[0]
    yield f"{_CGROUPS}/memory.max"
