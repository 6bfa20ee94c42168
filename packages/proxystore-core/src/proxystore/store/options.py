"""The choices a store is made with."""

from __future__ import annotations

import enum
from typing import Any, NamedTuple, NoReturn

from proxystore.errors import ConfigError, nearest_name
from proxystore.store.types import DeserializerT, SerializerT

__all__ = ["StoreOptions", "Verify"]


class Verify(enum.Enum):
    """Whether the contents of objects are checked when they are read.

    Lengths are always checked.
    """

    AUTO = "auto"
    """Everywhere but in memory from 1 MiB up, where a check costs as much as a copy."""
    ALWAYS = "always"

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        known = tuple(level.value for level in cls)
        nearest = nearest_name(str(value), known)
        raise ConfigError(f"verify={value!r}", "there is no such choice", nearest, known)


class StoreOptions(NamedTuple):
    """What a store was made with, apart from its name and connector."""

    serializer: SerializerT | None = None
    deserializer: DeserializerT | None = None
    cache_size: int = 256
    cache_nbytes: int = 256 * 1024 * 1024
    metrics: bool = False
    populate_target: bool = True
    verify: str = Verify.AUTO.value
    readonly: bool = False
    inline_nbytes: int = 0

    # Any: the values are options of different types.
    def changed(self) -> dict[str, Any]:
        """The options that differ from the defaults, which is all that proxies carry."""
        return {
            name: value
            for name, value in self._asdict().items()
            if value != self._field_defaults[name]
        }
