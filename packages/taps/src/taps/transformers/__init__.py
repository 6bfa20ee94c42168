"""Transformers replace arguments and results of tasks by references to them."""

from __future__ import annotations

from taps.transformers.abc import TransformerConfig

__all__ = ["TransformerConfig"]
