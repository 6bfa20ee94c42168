"""Connectors written for the older system, as the contract has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from proxystore.abc import Acknowledgement, Capability, Connector, Key, Medium
from proxystore.payload import BytesLike, Payload, as_bytes

__all__ = ["AdaptedConnector", "AdaptedDeferrableConnector"]


class AdaptedConnector(Connector[Key]):
    """A connector that takes payloads, around one that takes only `bytes`.

    Args:
        inner: The connector of the older system. Keys are its own.
        owns: Whether `close` without ``clear`` may do what ``inner`` does by
            default, which is often to clear the medium.
    """

    key_type: ClassVar[type] = tuple

    # Any: a class of anybody.
    def __init__(self, inner: Any, *, owns: bool) -> None:
        self.inner = inner
        self._owns = owns

    # Options beyond the contract's (tags, for one) are the inner connector's.
    def put(self, payload: Payload, **options: Any) -> Key:
        key: Key = self.inner.put(as_bytes(payload), **options)
        return key

    def get(self, key: Key) -> BytesLike | None:
        data: BytesLike | None = self.inner.get(key)
        return data

    def exists(self, key: Key) -> bool:
        return bool(self.inner.exists(key))

    def evict(self, key: Key) -> None:
        self.inner.evict(key)

    def put_batch(self, payloads: Sequence[Payload], **options: Any) -> list[Key]:
        return list(self.inner.put_batch([as_bytes(payload) for payload in payloads], **options))

    def get_batch(self, keys: Sequence[Key]) -> list[BytesLike | None]:
        return list(self.inner.get_batch(keys))

    def config(self) -> dict[str, Any]:
        return dict(self.inner.config())

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        raise TypeError("Make the inner connector from its config, and adapt() it.")

    def close(self, *, clear: bool | None = None, **options: Any) -> None:
        if clear is None and not self._owns and _takes_clear(self.inner.close):
            clear = False
        if clear is not None:
            options["clear"] = clear
        self.inner.close(**options)

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset({Capability.CROSS_PROCESS})

    @property
    def medium(self) -> Medium:
        return Medium.NETWORK

    @property
    def acknowledges(self) -> Acknowledgement:
        return Acknowledgement.MEMORY


class AdaptedDeferrableConnector(AdaptedConnector):
    """An adapted connector whose keys can be made before their objects."""

    def new_key(self, object_id: str | None = None) -> Key:
        if object_id is not None:
            raise TypeError(f"{type(self.inner).__name__} cannot make a key of a given id.")
        key: Key = self.inner.new_key()
        return key

    def set(self, key: Key, payload: Payload) -> None:
        self.inner.set(key, as_bytes(payload))

    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities | {Capability.DEFERRABLE}


def _takes_clear(close: Any) -> bool:
    import inspect

    return "clear" in inspect.signature(close).parameters
