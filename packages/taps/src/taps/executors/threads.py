"""A pool of threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from pydantic import Field

from taps.executors.abc import ExecutorConfig

__all__ = ["ThreadPoolConfig"]


class ThreadPoolConfig(ExecutorConfig):
    """Runs tasks in threads of the main process, on its own objects."""

    name: Literal["thread-pool"] = "thread-pool"
    max_threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="number of threads"
    )

    def get_executor(self) -> ThreadPoolExecutor:
        """A fresh pool; threads are started as tasks come."""
        return ThreadPoolExecutor(self.max_threads, thread_name_prefix="worker")
