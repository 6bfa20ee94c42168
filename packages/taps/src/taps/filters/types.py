"""A filter by the type of an object."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, field_validator

from taps.filters.abc import FilterConfig

__all__ = ["ObjectTypeConfig", "ObjectTypeFilter"]


class ObjectTypeFilter:
    """Transforms instances of ``types``, and of types whose name matches a pattern.

    Args:
        types: Subclasses count too.
        patterns: Regular expressions, matched as a whole against ``ndarray`` and
            ``numpy.ndarray``.
    """

    def __init__(self, *types: type, patterns: Sequence[str] | None = None) -> None:
        self.types = types
        self.patterns = tuple(patterns or ())
        self._matched: dict[type, bool] = {}

    def __call__(self, obj: Any) -> bool:
        kind = type(obj)
        if kind not in self._matched:
            self._matched[kind] = issubclass(kind, self.types) or self._names(kind)
        return self._matched[kind]

    def _names(self, kind: type) -> bool:
        full = f"{kind.__module__}.{kind.__qualname__}"
        return any(
            re.fullmatch(pattern, name)
            for pattern in self.patterns
            for name in (kind.__name__, full)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _object_type_filter, (self.types, self.patterns)


def _object_type_filter(types: tuple[type, ...], patterns: tuple[str, ...]) -> ObjectTypeFilter:
    return ObjectTypeFilter(*types, patterns=patterns)


class ObjectTypeConfig(FilterConfig):
    """Transforms objects whose type's name matches one of some regular expressions."""

    name: Literal["object-type"] = "object-type"
    patterns: tuple[str, ...] = Field(
        min_length=1, description='matched against "ndarray" and "numpy.ndarray", as a whole'
    )

    @field_validator("patterns")
    @classmethod
    def _compile(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as exc:
                raise ValueError(f"{pattern!r} is not a regular expression: {exc}") from exc
        return patterns

    def get_filter(self) -> ObjectTypeFilter:
        """The filter."""
        return ObjectTypeFilter(patterns=self.patterns)
