"""What a filter is, and what selects and configures one."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

__all__ = ["Filter"]


@runtime_checkable
class Filter(Protocol):
    """Says which objects a transformer is applied to.

    Used from several threads; a copy is pickled to each worker process.
    """

    def __call__(self, obj: Any) -> bool:
        """Whether ``obj`` is to be transformed."""
        ...
