"""Filters say which arguments and results of tasks a transformer is applied to."""

from __future__ import annotations

from taps.filters.abc import FilterConfig

__all__ = ["FilterConfig"]
