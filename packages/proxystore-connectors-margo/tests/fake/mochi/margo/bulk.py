"""Memory that an engine exposes to others, as in ``mochi.margo.bulk``."""

from __future__ import annotations

import enum
from typing import Any


class access(enum.Enum):
    read_only = 1
    write_only = 2
    read_write = 3


class xfer(enum.Enum):
    push = 0
    pull = 1


read_only, write_only, read_write = access.read_only, access.write_only, access.read_write
push, pull = xfer.push, xfer.pull


class Bulk:
    """Of the engine that made it, or, once pickled, of another one."""

    def __init__(self, bulk_id: int, mode: access, memory: memoryview | None = None) -> None:
        self.bulk_id, self.mode, self.memory = bulk_id, mode, memory

    def __reduce__(self) -> tuple[Any, ...]:
        return Bulk, (self.bulk_id, self.mode)

    def part(self, offset: int, size: int, *, written: bool) -> memoryview | None:
        """The memory to move, or `None` where a mode or a bound forbids it."""
        allowed = {read_write, write_only if written else read_only}
        if self.memory is None or self.mode not in allowed or offset < 0 or size < 0:
            return None
        part = self.memory[offset : offset + size]
        return part if len(part) == size and not (written and part.readonly) else None
