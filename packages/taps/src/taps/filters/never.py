"""A filter that keeps every object as it is."""

from __future__ import annotations

from typing import Any, Literal

from taps.filters.abc import FilterConfig

__all__ = ["NeverConfig", "NeverFilter"]


class NeverFilter:
    """Transforms nothing."""

    def __call__(self, obj: Any) -> bool:
        return False


class NeverConfig(FilterConfig):
    """Transforms nothing: the overhead of a transformer that is not used."""

    name: Literal["never"] = "never"

    def get_filter(self) -> NeverFilter:
        """The filter."""
        return NeverFilter()
