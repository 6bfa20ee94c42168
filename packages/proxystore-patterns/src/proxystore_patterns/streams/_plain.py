"""Plain values to JSON and back, with what JSON lacks: bytes, tuples, other keys than strings."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from proxystore_patterns.errors import BadEventError, EventEncodingError

__all__ = ["dump_plain", "load_plain"]

_ATOMS = frozenset({str, int, float, bool, type(None)})
_BYTES, _TUPLE, _DICT = "$b", "$t", "$d"

_encode = json.JSONEncoder(separators=(",", ":")).encode


# Any in this module: plain values of every type.
def dump_plain(value: Any, what: str) -> bytes:
    """``value`` as JSON.

    Raises:
        EventEncodingError: It holds something that is not plain; ``what`` names it.
    """
    try:
        return _encode(_tagged(value, what)).encode()
    except (RecursionError, ValueError) as exc:
        raise EventEncodingError(what, "values nested too deeply, or too large a number") from exc


def load_plain(data: bytes) -> Any:
    """What `dump_plain` was given.

    Raises:
        BadEventError: The bytes are something else.
    """
    try:
        return _untagged(json.loads(data))
    except (ValueError, TypeError, RecursionError, binascii.Error) as exc:
        raise BadEventError(f"its head cannot be read ({type(exc).__name__})") from exc


def _tagged(value: Any, what: str) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is dict:
        if all(type(name) is str and not name.startswith("$") for name in value):
            return {name: _tagged(each, what) for name, each in value.items()}
        pairs = [[_tagged(name, what), _tagged(each, what)] for name, each in value.items()]
        return {_DICT: pairs}
    if kind is list:
        return [_tagged(each, what) for each in value]
    # Keys are NamedTuples, and travel as their plain fields.
    if isinstance(value, tuple):
        return {_TUPLE: [_tagged(each, what) for each in value]}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {_BYTES: base64.b64encode(value).decode("ascii")}
    raise EventEncodingError(what, f"a value of type {kind.__qualname__}")


def _untagged(value: Any) -> Any:
    if type(value) is list:
        return [_untagged(each) for each in value]
    if type(value) is not dict:
        return value
    if len(value) == 1:
        ((name, content),) = value.items()
        if name == _TUPLE:
            return tuple(map(_untagged, _list(content)))
        if name == _BYTES:
            return base64.b64decode(content, validate=True)
        if name == _DICT:
            return {_untagged(key): _untagged(each) for key, each in _list(content)}
    return {name: _untagged(each) for name, each in value.items()}


def _list(content: Any) -> list[Any]:
    if type(content) is not list:
        raise TypeError
    return content
