"""Keys: which object, and which store process has it."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from proxystore.connectors.keys import EXPECTED_ID, expected_key, is_id
from proxystore.errors import InvalidKeyError

__all__ = ["UCXKey", "Where", "checked", "is_address"]

_is_address = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}").fullmatch
# As `Life` makes them: of such characters alone, for a socket has this name.
_is_instance = re.compile(r"[A-Za-z0-9_-]{8}").fullmatch


class UCXKey(NamedTuple):
    """Key of an object in a `UCXConnector`."""

    object_id: str
    """1 to 64 characters of ``[A-Za-z0-9_-]``."""
    where: str
    """The store process that has it, ``instance`` on the owner's node, else
    ``instance@host:port``. One that is started anew is another instance."""


class Where(NamedTuple):
    """The parts of `UCXKey.where`."""

    instance: str
    address: str
    """Empty for the owner's node, whose address the options have."""

    @classmethod
    def of(cls, text: str) -> Where:
        """The parts of ``text``, whatever it is."""
        instance, _, address = text.partition("@")
        return cls(instance, address)

    def __str__(self) -> str:
        return f"{self.instance}@{self.address}" if self.address else self.instance


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
    where: Any = key.where
    if not (isinstance(object_id, str) and is_id(object_id)):
        raise InvalidKeyError(repr(key), f"a UCXKey of {EXPECTED_ID}")
    # Before any use: it decides which socket, or whom, this process connects to.
    if not (isinstance(where, str) and _is_where(where)):
        expected = "a UCXKey whose store process is instance, or instance@host:port"
        raise InvalidKeyError(repr(key), expected)
    return key


def _is_where(text: str) -> bool:
    instance, separator, address = text.partition("@")
    return _is_instance(instance) is not None and (is_address(address) if separator else True)
