"""One run: its configuration, its directory, and what came of it."""

from __future__ import annotations

from taps.run._runner import RunOutcome, run
from taps.run.config import Config

__all__ = ["Config", "RunOutcome", "run"]
