"""What an object's attributes say: who wrote it, and until when it is there."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple, Self

from proxystore.connectors.keys import fresh_id
from proxystore.connectors.options import checked_ttl
from proxystore.errors import CorruptObjectError

__all__ = ["Stamp"]

# Azure takes identifiers only, and some proxies drop headers with an underscore.
_WRITE = "proxystorewrite"
_EXPIRES = "proxystoreexpires"


class Stamp(NamedTuple):
    """Written with each object, where objects have attributes."""

    write: str = ""
    """Differs for each write, by which a repeated request knows that it had succeeded before."""
    expires: float | None = None
    """Seconds since the epoch, by the writer's clock; `None`: never."""

    @classmethod
    def fresh(cls, ttl: float | None = None) -> Self:
        """The stamp of a new write that ends in ``ttl`` seconds.

        Raises:
            ValueError: ``ttl`` is not greater than zero.
            TypeError: It is no number.
        """
        ttl = checked_ttl(ttl)
        return cls(fresh_id(), None if ttl is None else time.time() + ttl)

    @classmethod
    def read(cls, attributes: Mapping[str, str]) -> Self:
        """The stamp in ``attributes``, the empty one where there is none.

        Raises:
            CorruptObjectError: Its time is no number.
        """
        expires = attributes.get(_EXPIRES)
        try:
            return cls(attributes.get(_WRITE, ""), None if expires is None else float(expires))
        except ValueError as exc:
            raise CorruptObjectError(f"its attribute {_EXPIRES} is no time") from exc

    def attributes(self) -> dict[str, str]:
        """What `read` reads."""
        attributes = {_WRITE: self.write}
        if self.expires is not None:
            attributes[_EXPIRES] = repr(self.expires)
        return attributes

    @property
    def has_expired(self) -> bool:
        """Whether the object is absent by now."""
        return self.expires is not None and self.expires <= time.time()
