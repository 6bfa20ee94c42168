"""The Task Performance Suite: run real applications on task executors, and measure them."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "1.0.0"
