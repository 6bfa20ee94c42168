"""What selects and configures a filter."""

from __future__ import annotations

from abc import abstractmethod

from taps.engine import Filter
from taps.plugins import PluginConfig

__all__ = ["FilterConfig"]


class FilterConfig(PluginConfig):
    """Options of a filter: a plugin of the group ``taps.filters``."""

    @abstractmethod
    def get_filter(self) -> Filter:
        """The filter."""
