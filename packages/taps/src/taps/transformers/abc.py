"""What selects and configures a transformer."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from taps.engine import Transformer
from taps.plugins import PluginConfig

__all__ = ["TransformerConfig"]


class TransformerConfig(PluginConfig):
    """Options of a transformer: a plugin of the group ``taps.transformers``."""

    @abstractmethod
    def get_transformer(self) -> Transformer[Any]:  # Any: identifiers are its own business.
        """A fresh transformer, which the caller closes."""
