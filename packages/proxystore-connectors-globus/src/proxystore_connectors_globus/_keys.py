"""Keys: which object, and which tasks carry it to the other collections."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from proxystore.connectors.keys import EXPECTED_ID, expected_key, is_id
from proxystore.errors import InvalidKeyError

__all__ = ["GlobusKey", "checked_key", "is_task_id", "tasks_text"]

_AT_SOURCE = "-"
_matches = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch


class GlobusKey(NamedTuple):
    """Key of an object in a `GlobusConnector`. Objects of one batch share their tasks."""

    object_id: str
    """1 to 64 characters of ``[A-Za-z0-9_-]``; the name of the object's file."""
    tasks: str
    """The Globus task that carries the object to each collection, in their order and
    separated by commas; ``-`` at the one where it was stored."""


def is_task_id(text: str) -> bool:
    """Whether ``text`` can be the id of a task of Globus."""
    return _matches(text) is not None


def tasks_text(tasks: list[str | None]) -> str:
    """The field of a key for ``tasks``, in which `None` is the collection of the writer."""
    return ",".join(_AT_SOURCE if task is None else task for task in tasks)


# Any: what a caller passed as a key, which may be anything.
def checked_key(key: Any, collections: int) -> tuple[str, list[str | None]]:
    """The identifier in ``key``, and its task for each of so many ``collections``.

    Raises:
        InvalidKeyError: It could not have come from a connector with so many.
    """
    if not isinstance(key, GlobusKey):
        raise InvalidKeyError(repr(key), expected_key(GlobusKey))
    object_id: Any = key.object_id
    # Before any use: '../x' as a file name would leave the directory.
    if not isinstance(object_id, str) or not is_id(object_id):
        raise InvalidKeyError(repr(key), f"a GlobusKey of {EXPECTED_ID}")
    tasks_field: Any = key.tasks
    texts = tasks_field.split(",") if isinstance(tasks_field, str) else []
    tasks = [None if text == _AT_SOURCE else text for text in texts]
    well_formed = all(task is None or is_task_id(task) for task in tasks)
    if len(tasks) != collections or tasks.count(None) != 1 or not well_formed:
        expected = f"{collections - 1} task ids and one '-', separated by commas"
        raise InvalidKeyError(repr(key), expected)
    return object_id, tasks
