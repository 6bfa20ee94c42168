"""What a user does wrong before or in a run is one sentence, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from proxystore.errors import MediumFullError
from taps.apps.abc import App, AppConfig, Verification
from taps.cli import main
from taps.engine import Engine
from taps.run import Config, RunOutcome, run
from taps.testing import tasks

TEXT = ["--app", "mapreduce", "--app.generate", "true", "--executor", "serial"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--transformer.connector.kind", "fle"], "Did you mean 'file'"),
        (["--transformer.connector.kind", "multi"], "Cannot use the options of connector"),
        (["--transformer.connector.options", "{}"], "--transformer.connector.kind"),
        (["--transformer", "none", "--filter", "never"], "Add --transformer"),
        (["--transformer.url", "nonsense"], "does not begin with a scheme"),
        (["--transformer.url", "file:///no/such/directory"], "there is no such directory"),
    ],
)
def test_a_wrong_option_of_a_transformer_is_a_usage_error_without_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main(["run", *TEXT, "--transformer", "proxystore", *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_app_that_lacks_a_package_is_a_usage_error_without_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "taps.apps._cholesky", raising=False)
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert main(["run", "--app", "cholesky", "--executor", "serial"]) == 2
    error = capsys.readouterr().err
    assert "numpy" in error
    assert "pip install './packages/taps[cholesky]'" in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


class InlineConfig(AppConfig):
    """An app made of a function."""

    name: Literal["inline"] = "inline"
    body: Callable[[Engine], object]
    verdict: object = None

    def get_app(self) -> App:
        return InlineApp(self)  # type: ignore[return-value]  # verify() may be wrong


@dataclasses.dataclass
class InlineApp:
    config: InlineConfig

    def run(self, engine: Engine, run_dir: Path) -> None:
        self.config.body(engine)

    def verify(self) -> object:
        return self.config.verdict

    def close(self) -> None:
        pass


def outcome_of(
    body: Callable[[Engine], object], monkeypatch: pytest.MonkeyPatch, verdict: object = None
) -> RunOutcome:
    config = Config.from_mapping({"app": "mapreduce", "engine": {"executor": "serial"}})
    app = InlineConfig(body=body, verdict=verdict)
    monkeypatch.setattr(Config, "write_toml", lambda self, path: None)
    return run(config.model_copy(update={"app": app}))


def refuse() -> None:
    raise ValueError("the disk is on fire")


def fill() -> None:
    raise MediumFullError("/somewhere", 8, "Make room.")


def child_of(parent: Callable[[], Any]) -> Callable[[Engine], object]:
    def body(engine: Engine) -> object:
        middle = engine.submit(tasks.add, engine.submit(parent), 1)
        return engine.submit(tasks.add, middle, 1).result()

    return body


def test_a_failed_parent_says_what_it_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    error = outcome_of(child_of(refuse), monkeypatch).error
    assert error is not None
    assert error.startswith("DependencyError: ")
    assert error.endswith("The cause: ValueError: the disk is on fire")


def test_a_full_medium_says_how_to_choose_another(monkeypatch: pytest.MonkeyPatch) -> None:
    error = outcome_of(child_of(fill), monkeypatch).error
    assert error is not None
    assert "--transformer.url file:///an/existing/directory" in error


def test_an_app_that_does_not_verify_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = outcome_of(lambda engine: None, monkeypatch)
    assert not outcome.verified
    assert outcome.error is not None
    assert "verify() of app 'inline' returned: it is None" in outcome.error
    assert "must return a taps.apps.abc.Verification" in outcome.error


def test_an_app_that_cannot_be_made_for_no_known_reason_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(config: object, opened: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("taps.run._runner.set_up", broken)
    outcome = outcome_of(lambda engine: None, monkeypatch)
    assert outcome.error is not None
    assert "Traceback" in (outcome.run_dir / "log.txt").read_text()


def test_a_right_verdict_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = Verification(ok=True, detail="equal")
    outcome = outcome_of(lambda engine: None, monkeypatch, verdict)
    assert (outcome.verified, outcome.detail) == (True, "equal")
    assert set(outcome.phases_s) == {"setup", "run", "verify"}
