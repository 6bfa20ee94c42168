"""Which payloads a tier of a `MultiConnector` takes, and on which hosts it is opened."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Self

from proxystore.connectors.options import check_options
from proxystore.errors import ConfigError

__all__ = ["Policy"]


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """When a tier is used. The default takes everything, everywhere.

    Args:
        priority: Of the tiers that take a payload, the highest is tried first.
        host_pattern: Regular expression that the whole host name must match;
            on other hosts the tier stays closed. `None` matches all.
        min_size_bytes: Smallest payload taken.
        max_size_bytes: Largest payload taken.
        subset_tags: Tags a payload may have: its ``subset_tags`` must all be among these.
        superset_tags: Tags a payload must have: its ``superset_tags`` must include these.
        copies_ttl: Seconds that a copy of an object in a tier of lower priority
            lives in this one, which then has copies only. `None`: it keeps
            objects, and no copies.
        write_through: Copy when an object is put, not only when one is read.

    Raises:
        ConfigError: The pattern is not a regular expression, no size fits, or
            ``copies_ttl`` is no time, or missing beside ``write_through``.
    """

    priority: int = 0
    host_pattern: str | None = None
    min_size_bytes: int = 0
    max_size_bytes: int = sys.maxsize
    subset_tags: tuple[str, ...] = ()
    superset_tags: tuple[str, ...] = ()
    copies_ttl: float | None = None
    write_through: bool = False

    def __post_init__(self) -> None:
        # Lists, from TOML and JSON, would make equal policies differ.
        object.__setattr__(self, "subset_tags", tuple(self.subset_tags))
        object.__setattr__(self, "superset_tags", tuple(self.superset_tags))
        if not 0 <= self.min_size_bytes <= self.max_size_bytes:
            sizes = f"min_size_bytes={self.min_size_bytes}, max_size_bytes={self.max_size_bytes}"
            raise ConfigError(f"a policy with {sizes}", "no payload has such a size")
        if self.host_pattern is not None:
            try:
                re.compile(self.host_pattern)
            except re.error as exc:
                found = f"it is not a regular expression ({exc})"
                raise ConfigError(f"host_pattern {self.host_pattern!r}", found) from exc
        self._check_copies()

    def _check_copies(self) -> None:
        ttl = self.copies_ttl
        if ttl is None:
            if self.write_through:
                found = "only a tier of copies is written through: it has no copies_ttl"
                raise ConfigError("a policy with write_through", found)
        # Without an end, what a dead process copied would stay for ever.
        elif not 0 < ttl < math.inf:
            raise ConfigError(f"copies_ttl {ttl!r}", "it is no number of seconds greater than 0")

    def is_valid(
        self,
        *,
        size_bytes: int | None = None,
        subset_tags: Iterable[str] | None = None,
        superset_tags: Iterable[str] | None = None,
    ) -> bool:
        """Whether a payload of this size and with these tags is taken.

        What is `None` is not looked at.
        """
        return self.refusal(size_bytes, subset_tags, superset_tags) is None

    def refusal(
        self,
        size_bytes: int | None,
        subset_tags: Iterable[str] | None,
        superset_tags: Iterable[str] | None,
    ) -> str | None:
        """Why a payload is not taken, a clause; `None` if it is. As `is_valid`."""
        if size_bytes is not None and not self.min_size_bytes <= size_bytes <= self.max_size_bytes:
            return f"takes {self.min_size_bytes} to {self.max_size_bytes} bytes"
        if subset_tags is not None and not set(subset_tags) <= set(self.subset_tags):
            return f"takes no tags but {sorted(self.subset_tags)}"
        if superset_tags is not None and not set(superset_tags) >= set(self.superset_tags):
            return f"takes only what is tagged {sorted(self.superset_tags)}"
        return None

    def is_valid_on_host(self) -> bool:
        """Whether the name of this host matches `host_pattern`."""
        pattern = self.host_pattern
        return pattern is None or re.fullmatch(pattern, os.uname().nodename) is not None

    # Any: an int, a string or a list, by field.
    def as_dict(self, *, defaults: bool = True) -> dict[str, Any]:
        """The policy as plain values, for JSON and TOML.

        Args:
            defaults: Include the fields that are as the default policy has them.
        """
        found = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if defaults or value != field.default:
                found[field.name] = list(value) if isinstance(value, tuple) else value
        return found

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The policy of which `as_dict` gave ``values``.

        Raises:
            ConfigError: A name is not one of a policy. It names the nearest that is.
        """
        names = tuple(field.name for field in dataclasses.fields(cls))
        check_options("multi (policy)", values, names)
        return cls(**values)
