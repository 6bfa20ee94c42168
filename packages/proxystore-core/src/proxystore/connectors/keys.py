"""Identifiers of objects, for the keys of connectors: made at random, checked before use."""

from __future__ import annotations

import base64
import os
import re
from typing import Any

from proxystore.errors import InvalidKeyError

__all__ = ["EXPECTED_ID", "checked_id", "expected_key", "fresh_id", "is_id"]

EXPECTED_ID = "1 to 64 characters of A-Z, a-z, 0-9, '_' and '-'"
_matches = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch


def fresh_id() -> str:
    """16 characters from 96 random bits, never made before by any process.

    From the kernel each time, so a forked child does not repeat its parent's.
    """
    return base64.urlsafe_b64encode(os.urandom(12)).decode("ascii")


def is_id(text: str) -> bool:
    """Whether ``text`` can be an object identifier."""
    return _matches(text) is not None


def expected_key(key_type: type[tuple[Any, ...]]) -> str:
    """What to pass in place of something that is no ``key_type``, for `InvalidKeyError`."""
    return f"a {key_type.__name__}, which store.make_key(fields) makes of plain fields"


# Any: what a caller passed as a key, which may be anything.
def checked_id(key: Any, key_type: type[tuple[str]]) -> str:
    """The identifier in ``key``.

    Raises:
        InvalidKeyError: ``key`` is not a ``key_type``, or its identifier is malformed.
    """
    if not isinstance(key, key_type):
        raise InvalidKeyError(repr(key), expected_key(key_type))
    object_id: Any = key[0]
    # Before any use: '../x' as a file name would leave the directory.
    if not isinstance(object_id, str) or _matches(object_id) is None:
        raise InvalidKeyError(repr(key), f"a {key_type.__name__} of {EXPECTED_ID}")
    return object_id
