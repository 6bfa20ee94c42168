"""Runs an application once, and writes down what came of it."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from proxystore.errors import ProxyStoreError
from taps.apps.abc import App, Verification
from taps.engine import Engine
from taps.errors import RunError
from taps.run._failure import failure_text
from taps.run._setup import SetUp, set_up
from taps.run.config import Config
from taps.run.directory import make_run_dir, write_json
from taps.run.environment import describe_environment
from taps.run.logs import logging_to
from taps.run.progress import Progress, no_progress

__all__ = ["RunOutcome", "run"]

logger = logging.getLogger(__name__)


@dataclasses.dataclass(slots=True)
class RunOutcome:
    """What came of a run. All of it is in ``result.json`` of its directory.

    Bytes by value went through the executor pickled; bytes by reference were
    put into the medium of the transformer. Durations are seconds.
    """

    run_dir: Path
    app: str
    executor: str
    transformer: str | None
    filter: str | None
    start_time: float = 0.0
    hostname: str = dataclasses.field(default_factory=socket.gethostname)
    verified: bool = False
    detail: str = "The run did not end."
    value: float | None = None
    """What `Verification.value` was."""
    error: str | None = None
    """Why there is no result, if there is none."""
    interrupted: bool = False
    makespan_s: float = 0.0
    """Of `App.run` alone."""
    phases_s: dict[str, float] = dataclasses.field(default_factory=dict)
    tasks: int = 0
    failed: int = 0
    argument_bytes: int = 0
    result_bytes: int = 0
    input_transforms: int = 0
    input_transform_bytes: int = 0
    result_transforms: int = 0
    result_transform_bytes: int = 0

    @property
    def bytes_by_value(self) -> int:
        """Pickled arguments and results."""
        return self.argument_bytes + self.result_bytes

    @property
    def bytes_by_reference(self) -> int:
        """Transformed arguments and results."""
        return self.input_transform_bytes + self.result_transform_bytes

    def write(self) -> None:
        """Write ``result.json``."""
        content = dataclasses.asdict(self)
        del content["run_dir"]
        content["bytes_by_value"] = self.bytes_by_value
        content["bytes_by_reference"] = self.bytes_by_reference
        write_json(self.run_dir / "result.json", content)


def run(config: Config, *, progress: Progress = no_progress) -> RunOutcome:
    """Run an application once: set up, run, verify, close.

    The time of `App.run` is the makespan. An app that raises gives an outcome
    that is not verified and has an `error`; its traceback is in the log file.

    Args:
        config: Of the run.
        progress: Shows how far it is.

    Raises:
        RunError: There can be no run directory.
        ProxyStoreError: App, transformer or executor cannot be made as configured. There
            is no run directory then.
        KeyboardInterrupt: Ctrl-C. Workers were ended, and result and records written.
    """
    began = time.time(), time.perf_counter()
    with _environment(config.run.env_vars or {}), contextlib.ExitStack() as opened:
        ready = _set_up(config, opened)
        outcome = _blank_outcome(config, make_run_dir(config), began[0])
        run_dir = outcome.run_dir
        config.write_toml(run_dir / "config.toml")
        start_method = getattr(config.engine.executor, "context", None)
        write_json(run_dir / "environment.json", describe_environment(start_method))
        with logging_to(config.logging, run_dir), _written_down(outcome):
            if isinstance(ready, Exception):
                raise ready
            engine = ready.engine(run_dir)
            opened.pop_all()  # The engine and _run close it all from here on.
            outcome.phases_s["setup"] = time.perf_counter() - began[1]
            _run(ready.app, engine, outcome, progress)
    return outcome


def _set_up(config: Config, opened: contextlib.ExitStack) -> SetUp | Exception:
    try:
        return set_up(config, opened)
    except ProxyStoreError:
        raise  # It says what to change; a run directory would only be in the way.
    except Exception as exc:  # noqa: BLE001 - to be written down, with its traceback
        return exc


@contextlib.contextmanager
def _written_down(outcome: RunOutcome) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        outcome.interrupted, outcome.detail = True, "The run was interrupted."
        raise
    except Exception as exc:
        # Not at the level of a terminal, which is shown the error itself.
        logger.info("The run failed.", exc_info=True)
        outcome.error = failure_text(exc)
        outcome.detail = "The run failed, so that there is nothing to verify."
    finally:
        outcome.write()


def _blank_outcome(config: Config, run_dir: Path, start_time: float) -> RunOutcome:
    engine = config.engine
    return RunOutcome(
        run_dir,
        start_time=start_time,
        app=config.app.name,
        executor=engine.executor.name,
        transformer=engine.transformer.name if engine.transformer else None,
        filter=engine.filter.name if engine.filter else None,
    )


def _run(app: App, engine: Engine, outcome: RunOutcome, progress: Progress) -> None:
    phases = outcome.phases_s
    with contextlib.ExitStack() as stack:
        stack.callback(app.close)
        # After the engine ended: tasks that were cancelled or lost count too.
        stack.callback(_add_totals, outcome, engine)
        stack.enter_context(engine)
        logger.info("Running %s in %s.", outcome.app, outcome.run_dir)
        with progress(outcome.app, engine), _timed(phases, "run"):
            app.run(engine, outcome.run_dir)
        outcome.makespan_s = phases["run"]
        with _timed(phases, "verify"):
            verification = app.verify()
    _note_verification(outcome, verification)


# object: an app is anybody's, and may forget to return what it found.
def _note_verification(outcome: RunOutcome, verification: object) -> None:
    if not isinstance(verification, Verification):
        raise RunError(
            f"what verify() of app {outcome.app!r} returned",
            f"it is {verification!r}",
            "It must return a taps.apps.abc.Verification.",
        )
    outcome.verified = verification.ok
    outcome.detail, outcome.value = verification.detail, verification.value
    logger.log(logging.INFO if verification.ok else logging.ERROR, verification.detail)


def _add_totals(outcome: RunOutcome, engine: Engine) -> None:
    for name, total in dataclasses.asdict(engine.totals).items():
        setattr(outcome, name, total)


@contextlib.contextmanager
def _timed(phases: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    try:
        yield
    finally:
        phases[name] = time.perf_counter() - began


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before: dict[str, Any] = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
