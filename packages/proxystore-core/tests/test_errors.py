"""Errors cross processes and tell their reader what to do."""

from __future__ import annotations

import pickle
from inspect import signature

import pytest

from proxystore import errors
from proxystore.errors import ProxyStoreError

# Facts for each constructor that is not happy with plain words.
_FACTS: dict[str, tuple[object, ...]] = {
    "MediumFullError": ("/data", 12, "Free some space."),
    "MultiConnectorError": ("put of 12 bytes", [("fast", "too large"), ("slow", "down")]),
    "UnsupportedVersionError": (9, 1),
    "ForbiddenSerializerError": ("pickle", ("bytes",)),
    "UnknownSerializerError": ("pickel", ("pickle",)),
    "StoreNotRegisteredError": ("dmeo", ("demo",)),
    "ConnectorNotInstalledError": ("RedisConnector", "proxystore-connectors-redis", ("file",)),
    "ConfigError": ("option 'stor_dir'", "no such option", "store_dir", ("store_dir",)),
    "ProxyResolveError": ("The factory failed.", KeyError("x")),
    "ProxyReentryError": ("The factory used its own proxy.", None),
    "ObjectNotFoundError": ("FileKey('a')", "FileConnector", "demo"),
}

_CONCRETE = sorted(
    (
        error
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, ProxyStoreError)
    ),
    key=lambda error: error.__name__,
)


def _example(error: type[ProxyStoreError]) -> ProxyStoreError:
    facts = _FACTS.get(error.__name__)
    if facts is None:
        names = list(signature(error.__init__).parameters)[1:]
        inherited = names == ["args", "kwargs"]
        facts = ("Something failed.",) if inherited else tuple(f"<{name}>" for name in names)
    return error(*facts)


def test_there_are_errors_to_walk() -> None:
    assert len(_CONCRETE) > 25


@pytest.mark.parametrize("error", _CONCRETE, ids=lambda error: error.__name__)
def test_every_error_survives_pickling(error: type[ProxyStoreError]) -> None:
    original = _example(error)
    copy = pickle.loads(pickle.dumps(original))
    assert type(copy) is error
    assert str(copy) == str(original)
    assert {k: str(v) for k, v in vars(copy).items()} == {
        k: str(v) for k, v in vars(original).items()
    }


class OfNumbersError(ProxyStoreError):
    """As users may write it: its arguments are nowhere."""

    def __init__(self, *numbers: int, unit: str) -> None:
        super().__init__(f"bad: {sum(numbers)} {unit}")


def test_an_error_of_users_survives_pickling_with_its_notes() -> None:
    original = OfNumbersError(3, 4, unit="s")
    original.add_note("In task 7.")
    copy = pickle.loads(pickle.dumps(original))
    assert (type(copy), str(copy)) == (OfNumbersError, "bad: 7 s")
    assert copy.__notes__ == ["In task 7."]


@pytest.mark.parametrize("error", _CONCRETE, ids=lambda error: error.__name__)
def test_every_message_is_whole_sentences(error: type[ProxyStoreError]) -> None:
    message = str(_example(error))
    assert message[0] not in "'\""
    assert message.endswith((".", "?", error.__name__, ">")) or "pip install" in message


@pytest.mark.parametrize("error", _CONCRETE, ids=lambda error: error.__name__)
def test_every_error_is_published(error: type[ProxyStoreError]) -> None:
    assert error.__name__ in errors.__all__


def test_the_nearest_name_is_suggested() -> None:
    assert "'demo'" in str(errors.StoreNotRegisteredError("dmeo", ("demo", "other")))


def test_two_stores_of_one_name_are_told_apart_from_none() -> None:
    assert "2 different stores" in str(errors.StoreNotRegisteredError("demo", ("demo",), matches=2))


def test_an_error_is_caught_by_the_builtin_type_a_caller_expects() -> None:
    assert issubclass(errors.ConnectorUnavailableError, ConnectionError)
    assert issubclass(errors.ObjectNotFoundError, LookupError)
    assert issubclass(errors.ConnectorNotInstalledError, ImportError)
    assert issubclass(errors.MediumFullError, OSError)
    assert issubclass(errors.ConfigError, ValueError)
