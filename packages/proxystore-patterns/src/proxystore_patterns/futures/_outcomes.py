"""What a future ends with, as an object of its store: a value, an error or a cancellation.

An outcome is a plain tuple that begins with its kind, so that no class of ours is
in the store and arrays in a value keep their memory out of the pickle.
"""

from __future__ import annotations

import traceback
from enum import StrEnum
from typing import Any, TypeAlias

from proxystore.abc import Key
from proxystore.errors import CorruptObjectError, SerializationError
from proxystore.payload import as_bytes
from proxystore.serialize import deserialize, serialize
from proxystore.store import Store
from proxystore_patterns.errors import (
    FutureCancelledError,
    ProducerRaisedError,
    ResultTakenError,
)

__all__ = [
    "CANCELLED",
    "TAKEN",
    "Kind",
    "Outcome",
    "Serializer",
    "described",
    "error_of",
    "failure",
    "opened",
    "read",
    "success",
    "write",
]

# Any in this module: values of every type.
Outcome: TypeAlias = tuple[Any, ...]
Serializer: TypeAlias = Any


class Kind(StrEnum):
    """What an outcome begins with."""

    VALUE = "value"
    """And the object."""
    DUMPED = "dumped"
    """And the bytes that a serializer of the user gave."""
    ERROR = "error"
    """And the exception's bytes (or none), its type, text, and traceback."""
    CANCELLED = "cancelled"
    TAKEN = "taken"
    """The result was for one consumer, which has it."""


# None may be what somebody else stored.
_NOTHING = object()

CANCELLED: Outcome = (Kind.CANCELLED.value,)
TAKEN: Outcome = (Kind.TAKEN.value,)


def success(value: Any, serializer: Serializer | None) -> Outcome:
    """The outcome of a producer that has a result."""
    if serializer is None:
        return Kind.VALUE.value, value
    return Kind.DUMPED.value, as_bytes(serializer(value))


def failure(error: BaseException) -> Outcome:
    """The outcome of a producer that raised ``error``, which may be of any kind."""
    try:
        dumped = as_bytes(serialize(error))
    except SerializationError:
        dumped = b""
    told = "".join(traceback.format_exception(error)) if error.__traceback__ else ""
    return Kind.ERROR.value, dumped, type(error).__qualname__, str(error), told


def write(store: Store[Any], key: Key, outcome: Outcome) -> None:
    """Make ``outcome`` the one of ``key``.

    Raises:
        KeyAlreadySetError: It has one.
    """
    store.set(key, outcome, serializer=serialize if store.serializer else None)


def read(store: Store[Any], key: Key) -> Outcome | None:
    """The outcome of ``key``, if there is one.

    Raises:
        CorruptObjectError: Something else is there.
    """
    found = store.get(
        key, deserializer=deserialize if store.deserializer else None, default=_NOTHING
    )
    if found is _NOTHING:
        return None
    if not _is_outcome(found):
        raise CorruptObjectError(
            f"it is no outcome of a future, but of type {type(found).__qualname__}",
            f"Let nothing but futures set the key {key!r}.",
        )
    outcome: Outcome = found
    return outcome


def _is_outcome(found: Any) -> bool:
    # First: an array, compared with a kind, is neither true nor false.
    if not (isinstance(found, tuple) and found and type(found[0]) is str):
        return False
    match found:
        case (Kind.VALUE, _) | (Kind.CANCELLED,) | (Kind.TAKEN,):
            return True
        case (Kind.DUMPED, bytes() | bytearray() | memoryview()):
            return True
        case (Kind.ERROR, bytes() | bytearray() | memoryview(), str(), str(), str()):
            return True
        case _:
            return False


def opened(store: Store[Any], key: Key, outcome: Outcome, deserializer: Any) -> Any:
    """The value in ``outcome``; raises what it has in place of one.

    Raises:
        SerializationError: Its deserializer raised.
    """
    error = error_of(store, key, outcome)
    if error is not None:
        raise error
    if outcome[0] == Kind.VALUE:
        return outcome[1]
    given = deserializer or store.deserializer
    try:
        return (given or deserialize)(outcome[1])
    except SerializationError:
        raise
    except Exception as failed:
        # Not as itself: that would pass for what the producer raised.
        raise SerializationError(
            f"The deserializer {given!r} failed on the result of a future: "
            f"{type(failed).__name__}: {failed}. Use the one that belongs to the serializer."
        ) from failed


def error_of(store: Store[Any], key: Key, outcome: Outcome) -> Exception | None:
    """What ``outcome`` raises, made anew for each who asks; `None` if it has a value."""
    match outcome:
        case (Kind.ERROR, dumped, type_name, text, told):
            error = _revived(dumped, type_name, text)
            if told:
                error.add_note(f"As its producer saw it:\n{told.rstrip()}")
            return error
        case (Kind.CANCELLED,):
            return FutureCancelledError(repr(key), store.name)
        case (Kind.TAKEN,):
            return ResultTakenError(repr(key), store.name)
        case _:
            return None


def _revived(dumped: bytes, type_name: str, text: str) -> Exception:
    def told(found: str, advice: str) -> ProducerRaisedError:
        return ProducerRaisedError(type_name, text, found, advice)

    if not dumped:
        return told("it could not be serialized", "Let exceptions pickle.")
    try:
        error = deserialize(dumped)
    except SerializationError as refused:
        advice = "Let exceptions pickle, and install the package that they come from."
        return told(str(refused).rstrip("."), advice)
    match error:
        case StopIteration() | StopAsyncIteration():
            # map(Future.result, ...) would end early without a word, and an event loop never
            # hears of it (PEP 479).
            found = "a loop would take it for its end"
        case Exception():
            return error
        case _:
            # SystemExit, for one, would end a consumer that did nothing wrong.
            found = "it is no Exception"
    return told(found, "Let the producer raise an exception that says what went wrong.")


def described(outcome: Outcome | None) -> str:
    """What there is, for an error that says that there is something."""
    names: dict[str, str] = {Kind.ERROR: "an exception", Kind.CANCELLED: "been cancelled"}
    return "a result" if outcome is None else names.get(outcome[0], "a result")
