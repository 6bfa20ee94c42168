"""Transformers replace arguments and results of tasks by references to them."""

from __future__ import annotations

from taps.transformers.abc import Measured, Transformer

__all__ = ["Measured", "Transformer"]
