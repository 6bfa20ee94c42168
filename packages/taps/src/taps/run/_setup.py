"""Makes everything that a run needs and that a mistake in its options can keep from being made."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from taps.apps.abc import App
from taps.engine import Engine, Filter, JSONLinesRecordLogger, Transformer
from taps.run.config import Config

__all__ = ["SetUp", "set_up"]


@dataclasses.dataclass(frozen=True, slots=True)
class SetUp:
    """An app, and what its engine is made of."""

    app: App
    executor: Executor
    transformer: Transformer[Any] | None  # Any: identifiers are its own business.
    filter: Filter | None
    record_file_name: str | None

    def engine(self, run_dir: Path) -> Engine:
        """The engine, which writes its records to ``run_dir``. It owns executor and transformer."""
        name = self.record_file_name
        return Engine(
            self.executor,
            filter_=self.filter,
            transformer=self.transformer,
            record_logger=None if name is None else JSONLinesRecordLogger(run_dir / name),
        )


def set_up(config: Config, opened: ExitStack) -> SetUp:
    """Make app, transformer, filter and executor. Writes nothing to a run directory.

    Args:
        config: Of the run.
        opened: Closes what was made, unless somebody else takes that over.
    """
    engine = config.engine
    app = config.app.get_app()
    opened.callback(app.close)
    transformer = engine.transformer.get_transformer() if engine.transformer else None
    if transformer is not None:
        opened.callback(transformer.close)
    filter_ = engine.filter.get_filter() if engine.filter else None
    executor = engine.executor.get_executor()
    opened.callback(executor.shutdown)
    return SetUp(app, executor, transformer, filter_, engine.task_record_file_name)
