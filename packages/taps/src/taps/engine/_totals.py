"""Sums over the tasks of an engine."""

from __future__ import annotations

import dataclasses

from taps.engine._task import TaskInfo

__all__ = ["Totals"]


@dataclasses.dataclass(slots=True)
class Totals:
    """What the tasks of one engine amounted to. Bytes are as in `TaskInfo`."""

    tasks: int = 0
    failed: int = 0
    """Failed or cancelled."""
    argument_bytes: int = 0
    result_bytes: int = 0
    input_transforms: int = 0
    input_transform_bytes: int = 0
    result_transforms: int = 0
    result_transform_bytes: int = 0

    def add(self, info: TaskInfo) -> None:
        """Count a finished task. The caller holds the engine's lock."""
        self.tasks += 1
        self.failed += not info.success
        self.argument_bytes += info.argument_bytes
        self.result_bytes += info.result_bytes
        self.input_transforms += info.input_transforms
        self.input_transform_bytes += info.input_transform_bytes
        self.result_transforms += info.result_transforms
        self.result_transform_bytes += info.result_transform_bytes
