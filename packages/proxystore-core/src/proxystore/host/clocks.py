"""The clock of this node, which nobody sets back."""

from __future__ import annotations

import time

__all__ = ["boot_ns"]

# macOS has no such clock: its monotonic one stands still while the machine sleeps.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_ns() -> int:
    """Nanoseconds since this node booted: one clock for its processes, which nobody sets back."""
    return time.clock_gettime_ns(_CLOCK)
