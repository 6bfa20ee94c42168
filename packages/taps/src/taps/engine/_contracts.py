"""What the engine needs of filters, transformers and executors."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, runtime_checkable

__all__ = ["Filter", "IdentifierT", "Measured", "Terminable", "Transformer"]

IdentifierT = TypeVar("IdentifierT")


# Any in this module: arguments and results of tasks have every type there is.
@runtime_checkable
class Filter(Protocol):
    """Says which objects a transformer is applied to.

    Used from several threads; a copy is pickled to each worker process.
    """

    def __call__(self, obj: Any) -> bool:
        """Whether ``obj`` is to be transformed."""
        ...


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


@runtime_checkable
class Terminable(Protocol):
    """An executor that can end tasks which run."""

    def terminate(self) -> None:
        """End the workers now. Their tasks, and those queued, fail. Idempotent."""
        ...
