"""Errors of patterns cross processes, with tasks, as those of core do."""

from __future__ import annotations

import pickle
from inspect import get_annotations, signature
from typing import Any

import pytest

from proxystore.errors import ProxyStoreError
from proxystore_patterns import errors
from proxystore_patterns.errors import PatternsError

_ERRORS = [getattr(errors, name) for name in errors.__all__]
_FACTS: dict[str, Any] = {"str": "It.", "int": 3, "float": 0.5}


def _example(error: type[PatternsError]) -> PatternsError:
    names = list(signature(error.__init__).parameters)[1:]
    if names == ["args", "kwargs"]:
        return error("It failed.")
    types = get_annotations(error.__init__)
    return error(*(_FACTS[types[name]] for name in names))


def test_all_errors_are_published_and_have_one_root() -> None:
    found = {
        name
        for name, error in vars(errors).items()
        if isinstance(error, type)
        and issubclass(error, ProxyStoreError)
        and error.__module__.startswith("proxystore_patterns")
    }
    assert found == set(errors.__all__)
    assert all(issubclass(error, PatternsError) for error in _ERRORS)


@pytest.mark.parametrize("error", _ERRORS, ids=lambda error: error.__name__)
def test_every_error_survives_pickling(error: type[PatternsError]) -> None:
    original = _example(error)
    original.add_note("In task 7.")
    copy = pickle.loads(pickle.dumps(original))
    assert type(copy) is error
    assert str(copy) == str(original)
    assert vars(copy) == vars(original)


@pytest.mark.parametrize("error", _ERRORS, ids=lambda error: error.__name__)
def test_every_message_is_whole_sentences(error: type[PatternsError]) -> None:
    message = str(_example(error))
    assert message[0].isupper() or message[0].isdigit()
    # But for a command to copy.
    assert message.endswith((".", ".)")) or "pip install" in message
