from __future__ import annotations

import pickle

import pytest

from taps import errors

EXAMPLES: list[errors.TapsError] = [
    errors.TaskError("'a' (01)", "ValueError", "no"),
    errors.DependencyError("'a' (01)", "'b' (02)"),
    errors.WorkerDiedError("'a' (01)", "terminated abruptly"),
    errors.TaskSerializationError("'a' (01)", "result", "TypeError: no"),
    errors.EngineClosedError("a"),
    errors.RunError("run 'x'", "it is empty", "Run it."),
    errors.UsageError(["One.", "Two."]),
    errors.UnknownPluginError("app", "mapreduec", ["mapreduce"]),
    errors.PluginLoadError("app", "x", "no module", "Install it."),
]


def test_every_error_has_an_example() -> None:
    named = {getattr(errors, name) for name in errors.__all__} - {errors.TapsError}
    assert {type(example) for example in EXAMPLES} == named


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error: errors.TapsError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
