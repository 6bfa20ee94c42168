"""What selects and configures an executor."""

from __future__ import annotations

from abc import abstractmethod
from concurrent.futures import Executor

from taps.plugins import PluginConfig

__all__ = ["ExecutorConfig"]


class ExecutorConfig(PluginConfig):
    """Options of an executor: a plugin of the group ``taps.executors``."""

    @abstractmethod
    def get_executor(self) -> Executor:
        """A fresh executor, which the caller shuts down."""
