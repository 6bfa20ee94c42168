"""Log messages of a run: to the terminal, and to a file in its directory."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from taps.run.config import LoggingConfig

__all__ = ["logging_to"]

_FORMAT = "[%(asctime)s.%(msecs)03d] %(levelname)-5s (%(name)s) > %(message)s"


@contextlib.contextmanager
def logging_to(config: LoggingConfig, run_dir: Path) -> Iterator[None]:
    """Log as ``config`` says, until the block ends. Warnings are logged too."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    handlers[0].setLevel(config.level)
    if config.file_name is not None:
        file = logging.FileHandler(run_dir / config.file_name, encoding="utf-8")
        file.setLevel(config.file_level)
        handlers.append(file)
    root = logging.getLogger()
    level_before = root.level
    for handler in handlers:
        handler.setFormatter(logging.Formatter(_FORMAT, datefmt="%Y-%m-%d %H:%M:%S"))
        root.addHandler(handler)
    root.setLevel(min(handler.level for handler in handlers))
    logging.captureWarnings(capture=True)
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        root.setLevel(level_before)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
