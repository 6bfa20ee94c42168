"""What both the fake and the real pydaos do, so that the fake can stand for it."""

from __future__ import annotations

from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest


@pytest.fixture
def dictionary(pydaos: ModuleType, container: Any) -> Any:
    return pydaos.DCont(container.pool, container.name).dict(uuid4().hex)


def test_a_dictionary_is_found_again_by_its_name(
    pydaos: ModuleType, container: Any, dictionary: Any
) -> None:
    dictionary.put("key", b"value")
    again = pydaos.DCont(container.pool, container.name).get(dictionary.name)
    assert b"value" == again.get("key")


def test_a_name_makes_one_dictionary(pydaos: ModuleType, container: Any, dictionary: Any) -> None:
    with pytest.raises(pydaos.PyDError, match="EXIST"):
        pydaos.DCont(container.pool, container.name).dict(dictionary.name)


def test_a_name_that_is_not_there_is_not_found(pydaos: ModuleType, container: Any) -> None:
    with pytest.raises(pydaos.DObjNotFound):
        pydaos.DCont(container.pool, container.name).get(uuid4().hex)


@pytest.mark.parametrize("nothing", [b"", None])
def test_an_empty_value_removes_its_key(dictionary: Any, nothing: bytes | None) -> None:
    dictionary.put("key", b"value")
    dictionary.put("key", nothing)
    assert list(dictionary) == []


def test_getting_an_absent_key_is_a_key_error(dictionary: Any) -> None:
    with pytest.raises(KeyError):
        dictionary.get("absent")


def test_removing_an_absent_key_is_silent(dictionary: Any) -> None:
    dictionary.pop("absent")
    del dictionary["absent"]


def test_values_are_bytes(dictionary: Any) -> None:
    with pytest.raises(TypeError):
        dictionary.put("key", bytearray(b"value"))


def test_a_bulk_read_has_none_for_what_is_absent(dictionary: Any) -> None:
    dictionary.bput({"one": b"1", "two": b"2"})
    values = {"two": None, "absent": None, "one": None}
    dictionary.bget(values, 4)
    assert {"two": b"2", "absent": None, "one": b"1"} == values
