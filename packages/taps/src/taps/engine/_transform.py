"""Decides which arguments and results travel by reference, and makes them so."""

from __future__ import annotations

import dataclasses
from typing import Any

from taps.engine._contracts import Filter, Measured, Transformer

__all__ = ["Moved", "TaskTransformer"]


@dataclasses.dataclass(slots=True)
class Moved:
    """How many objects were transformed, and their serialized bytes."""

    count: int = 0
    nbytes: int = 0


class TaskTransformer:
    """A transformer and the filter that says what it applies to.

    Pickles to workers if both do. Without a transformer nothing is changed;
    without a filter everything is transformed.
    """

    def __init__(
        self, transformer: Transformer[Any] | None = None, filter_: Filter | None = None
    ) -> None:
        self.transformer, self.filter = transformer, filter_
        self._measured = isinstance(transformer, Measured)

    @property
    def active(self) -> bool:
        """Whether there is a transformer at all."""
        return self.transformer is not None

    def is_identifier(self, obj: object) -> bool:
        """Whether ``obj`` stands for an object that was transformed."""
        return self.transformer is not None and self.transformer.is_identifier(obj)

    def transform(self, obj: Any, moved: Moved) -> Any:
        """An identifier of ``obj``, or ``obj`` itself if it stays a value.

        Args:
            obj: An argument or result.
            moved: Counts what was transformed.
        """
        if self.transformer is None or self.transformer.is_identifier(obj):
            return obj
        if self.filter is not None and not self.filter(obj):
            return obj
        if self._measured:
            identifier, nbytes = self.transformer.transform_measured(obj)  # type: ignore[attr-defined]
        else:
            identifier, nbytes = self.transformer.transform(obj), 0
        if self.transformer.is_identifier(identifier):
            moved.count += 1
            moved.nbytes += nbytes
        return identifier

    def resolve(self, obj: Any) -> Any:
        """``obj`` resolved if it is an identifier. Does not look inside."""
        if self.transformer is None or not self.transformer.is_identifier(obj):
            return obj
        return self.transformer.resolve(obj)

    def close(self) -> None:
        """Close the transformer."""
        if self.transformer is not None:
            self.transformer.close()
