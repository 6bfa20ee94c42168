"""The directory of a run."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taps.errors import RunError
from taps.run.config import Config

__all__ = ["make_run_dir", "write_json"]

_MOST_AT_ONCE = 1000


def make_run_dir(config: Config) -> Path:
    """Make a directory that no other run has, named as the configuration says.

    Runs that begin in the same second get ``-2``, ``-3`` and so on.

    Raises:
        RunError: It cannot be made.
    """
    transformer = config.engine.transformer
    path = Path(
        config.run.dir_format.format(
            name=config.app.name,
            executor=config.engine.executor.name,
            transformer=transformer.name if transformer else "none",
            timestamp=time.strftime("%Y-%m-%d-%H-%M-%S"),
        )
    ).absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, _MOST_AT_ONCE):
            candidate = path if number == 1 else path.with_name(f"{path.name}-{number}")
            try:
                candidate.mkdir()
            except FileExistsError:
                continue
            return candidate
    except OSError as exc:
        advice = "Choose another with --run.dir-format."
        raise RunError(f"run directory {str(path)!r}", str(exc), advice) from exc
    raise RunError(
        f"run directory {str(path)!r}",
        f"it exists, and so do {_MOST_AT_ONCE - 2} numbered after it",
        "Put {timestamp} into --run.dir-format.",
    )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file for people and programs, which appears when it is complete."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
