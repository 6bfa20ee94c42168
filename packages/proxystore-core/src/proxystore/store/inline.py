"""What the proxy of an object resolves with that travels inside it."""

from __future__ import annotations

from typing import Any, TypeVar

from proxystore.factory import Factory
from proxystore.proxy._card import measured
from proxystore.store._codec import load
from proxystore.store.types import DeserializerT

__all__ = ["InlineFactory"]

T = TypeVar("T")


class InlineFactory(Factory[T]):
    """Makes an object of its bytes, which each pickle of the factory carries.

    What a store with ``inline_nbytes`` gives the proxies of small objects. Each
    resolve makes an object of its own. Thread safe.

    Args:
        data: The object, as its store serialized it.
        deserializer: Use this one instead of `proxystore.serialize.deserialize`.
        readonly: Give arrays that cannot be written.
    """

    def __init__(
        self, data: bytes, deserializer: DeserializerT | None = None, *, readonly: bool = False
    ) -> None:
        self._data, self._deserializer, self._readonly = data, deserializer, readonly
        self._measured: dict[str, str] = {}

    def resolve(self) -> T:
        """The object.

        Raises:
            SerializationError: It could not be deserialized.
        """
        return load(self._data, self._deserializer, readonly=self._readonly)  # type: ignore[no-any-return]

    def facts(self) -> dict[str, object]:
        """Where the object is, and what `remember` found out in this process."""
        return {**self._measured, "carried": f"{len(self._data)} bytes, in the proxy"}

    def remember(self, obj: T) -> None:
        """Note shape, dtype and size of ``obj``, the object itself, for `facts`."""
        self._measured = measured(obj)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._readonly:
            return _readonly, (self._data, self._deserializer)
        if self._deserializer is not None:
            return InlineFactory, (self._data, self._deserializer)
        return InlineFactory, (self._data,)

    def __repr__(self) -> str:
        # Not the data: it may be private.
        return f"<InlineFactory of {len(self._data)} bytes>"


def _readonly(data: bytes, deserializer: DeserializerT | None) -> InlineFactory[Any]:
    return InlineFactory(data, deserializer, readonly=True)


# Each such proxy carries this name: the shorter, the better.
InlineFactory.__module__ = _readonly.__module__ = "proxystore.store"
