"""What a transformer is."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, runtime_checkable

__all__ = ["IdentifierT", "Measured", "Transformer"]

IdentifierT = TypeVar("IdentifierT")


@runtime_checkable
class Transformer(Protocol[IdentifierT]):
    """Puts objects somewhere, and passes identifiers of them around instead.

    Used from several threads. A copy is pickled to each worker process, and
    only the original is closed.
    """

    def transform(self, obj: Any) -> IdentifierT:
        """An identifier of ``obj``; or ``obj`` itself if it cannot have one."""
        ...

    def resolve(self, identifier: IdentifierT) -> Any:
        """What a task is given for ``identifier``."""
        ...

    def is_identifier(self, obj: object) -> bool:
        """Whether ``obj`` came from `transform`. Cheap; must not resolve it."""
        ...

    def close(self) -> None:
        """Release what the transformer holds; its objects are gone then. Idempotent."""
        ...


@runtime_checkable
class Measured(Protocol):
    """A transformer that knows how large objects are where it puts them."""

    def transform_measured(self, obj: Any) -> tuple[Any, int]:
        """As `Transformer.transform`, with the serialized size of ``obj`` in bytes."""
        ...
