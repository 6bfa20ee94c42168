"""Executors: plugins that run tasks, each in a module that is imported when it is chosen."""

from __future__ import annotations

from taps.executors.abc import ExecutorConfig

__all__ = ["ExecutorConfig"]
