"""Shows how far a run is: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console

    from taps.engine import Engine

__all__ = ["Progress", "bar_on", "no_progress"]

Progress: TypeAlias = "Callable[[str, Engine], contextlib.AbstractContextManager[None]]"
"""Called with the app's name and the engine; shows progress within the block."""


@contextlib.contextmanager
def no_progress(name: str, engine: Engine) -> Iterator[None]:
    """Show nothing."""
    yield


def bar_on(console: Console) -> Progress:
    """A bar of finished tasks on ``console`` if it is a terminal, otherwise nothing.

    Asks the engine ten times a second, so that tasks pay nothing for it.
    """
    if not console.is_terminal:
        return no_progress

    @contextlib.contextmanager
    def show(name: str, engine: Engine) -> Iterator[None]:
        from rich import progress as rich_progress

        class Done(rich_progress.ProgressColumn):
            def render(self, task: rich_progress.Task) -> str:
                done, submitted = engine.tasks_executed, engine.tasks_submitted
                task.completed, task.total = done, max(submitted, 1)
                return f"{done}/{submitted} tasks"

        with rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            Done(),
            rich_progress.BarColumn(),
            rich_progress.TimeElapsedColumn(),
            console=console,
            transient=True,
        ) as bar:
            bar.add_task(name, total=None)
            yield

    return show
