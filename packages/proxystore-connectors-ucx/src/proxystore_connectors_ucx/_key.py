"""Keys: which object, and on which node it lives."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from proxystore.connectors.keys import EXPECTED_ID, expected_key, is_id
from proxystore.errors import InvalidKeyError

__all__ = ["HOME", "UCXKey", "checked", "is_address"]

HOME = ""
"""Where the objects of the owner's node live."""

_is_address = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}").fullmatch


class UCXKey(NamedTuple):
    """Key of an object in a `UCXConnector`."""

    object_id: str
    """1 to 64 characters of ``[A-Za-z0-9_-]``."""
    at: str = HOME
    """``host:port`` of the node that has it; empty for that of the owner."""


def is_address(text: str) -> bool:
    """Whether ``text`` has the form ``host:port``."""
    return _is_address(text) is not None and int(text.rpartition(":")[2]) < 65536


# Any: what a caller passed as a key, which may be anything.
def checked(key: Any) -> UCXKey:
    """``key`` as it is.

    Raises:
        InvalidKeyError: It could not have come from a `UCXConnector`.
    """
    if not isinstance(key, UCXKey):
        raise InvalidKeyError(repr(key), expected_key(UCXKey))
    object_id: Any = key.object_id
    at: Any = key.at
    # Before any use: the address decides whom this process connects to.
    if not (isinstance(object_id, str) and is_id(object_id)):
        raise InvalidKeyError(repr(key), f"a UCXKey of {EXPECTED_ID}")
    if not (isinstance(at, str) and (at == HOME or is_address(at))):
        raise InvalidKeyError(repr(key), "a UCXKey whose node is host:port, or empty")
    return key
