"""Keys of objects in shared memory, and the places that they name."""

from __future__ import annotations

from typing import Any, NamedTuple

from proxystore.connectors._file.layout import MOVED
from proxystore.connectors._shm.slabs import Place
from proxystore.connectors.keys import EXPECTED_ID, expected_key, is_id
from proxystore.errors import InvalidKeyError

__all__ = ["ShmEntry", "ShmKey", "moved_name", "place_of", "place_of_moved"]


class ShmKey(NamedTuple):
    """Key of an object in a `ShmConnector`."""

    name: str
    """Of its file, or of the slab that it shares with others."""
    slot: int = -1
    """In the slab; -1 if it has a file of its own."""
    generation: int = 0
    """Of the slot: an object that comes later to the same slot has another one."""


class ShmEntry(NamedTuple):
    """An object in shared memory, as `ShmConnector.entries` finds it."""

    key: ShmKey
    nbytes: int
    created: float | None
    """Seconds since the epoch; `None` of a small one, of which nobody notes it."""
    expires: float | None
    """Seconds since the epoch; `None`: never."""


# Any: what a caller passed as a key, which may be anything.
def place_of(key: Any) -> Place | None:
    """Where in a slab the object is; `None` if it has a file of its own.

    Raises:
        InvalidKeyError: ``key`` is no `ShmKey`, or a part of it is malformed.
    """
    if type(key) is not ShmKey:
        raise InvalidKeyError(repr(key), expected_key(ShmKey))
    name, slot, generation = tuple[Any, Any, Any](key)
    if type(slot) is int and type(generation) is int and slot == -1 and not generation:
        if not isinstance(name, str) or not is_id(name):
            raise InvalidKeyError(repr(key), f"a ShmKey of {EXPECTED_ID}")
        return None
    # Before any use: '../x' as a file name would leave the directory.
    if (
        type(name) is str
        and type(slot) is int
        and type(generation) is int
        and slot >= 0
        and 0 < generation < 1 << 63
        and is_id(name)
    ):
        return Place(name, slot, generation)
    raise InvalidKeyError(repr(key), expected_key(ShmKey))


def moved_name(place: Place) -> str:
    """Of the file that has the object of ``place`` since that was replaced."""
    return f"{MOVED}{place.slab}-{place.slot}-{place.generation}"


def place_of_moved(name: str) -> Place | None:
    """The inverse of `moved_name`; `None` for a name that it never gave."""
    slab, dash, numbers = name.removeprefix(MOVED).rpartition("-")
    slab, _, slot = slab.rpartition("-")
    if not (dash and is_id(slab) and slot.isdecimal() and numbers.isdecimal()):
        return None
    return Place(slab, int(slot), int(numbers))
