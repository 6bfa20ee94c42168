"""Applications of the suite, each in modules that are imported when it is chosen."""

from __future__ import annotations

from taps.apps.abc import App, AppConfig, Verification

__all__ = ["App", "AppConfig", "Verification"]
