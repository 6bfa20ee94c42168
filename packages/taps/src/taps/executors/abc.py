"""What an executor may offer beyond `concurrent.futures.Executor`."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

__all__ = ["Terminable"]


@runtime_checkable
class Terminable(Protocol):
    """An executor that can end tasks which run."""

    def terminate(self) -> None:
        """End the workers now. Their tasks, and those queued, fail. Idempotent."""
        ...
