"""What an application is, and what selects and configures one."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from taps.plugins import PluginConfig

if TYPE_CHECKING:
    from taps.engine import Engine

__all__ = ["App", "AppConfig", "Verification"]


@dataclasses.dataclass(frozen=True)
class Verification:
    """Whether the result of a run is right, and how that is known."""

    ok: bool
    detail: str
    """One sentence for the user, such as ``"relative residual 3e-16 <= 1e-12"``."""
    value: float | None = None
    """The number that was judged, if there is one."""


@runtime_checkable
class App(Protocol):
    """One application, run once: `run`, then `verify`, then `close`."""

    def run(self, engine: Engine, run_dir: Path) -> None:
        """Submit the tasks and wait for them. This call is what is timed.

        Args:
            engine: Stays open until after `verify`; the app does not close it.
            run_dir: An existing directory for the app's own output files.
        """
        ...

    def verify(self) -> Verification:
        """Check the result of `run` against an independent computation. Not timed."""
        ...

    def close(self) -> None:
        """Release what the app holds. Idempotent; called whatever happened."""
        ...


class AppConfig(PluginConfig):
    """Parameters of an application: a plugin of the group ``taps.apps``.

    Paths given on a command line or in a file are relative to the working directory.
    """

    @abstractmethod
    def get_app(self) -> App:
        """A fresh application with these parameters."""
