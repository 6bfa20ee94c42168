"""Keeps a proxy from being used, and so resolved, by accident."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from proxystore.proxy._static import Proxy

__all__ = ["ProxyLocker"]

T = TypeVar("T")


class ProxyLocker(Generic[T]):
    """Carries a proxy through code that would resolve it, such as a field validator.

    Args:
        proxy: Given back, the same object, by `unlock`.
    """

    __slots__ = ("_proxy",)

    def __init__(self, proxy: Proxy[T]) -> None:
        self._proxy = proxy

    def __getattribute__(self, name: str) -> Any:  # Any: the attributes of object.
        if name == "_proxy":
            raise AttributeError("Cannot access proxy attribute of a Locker")
        return super().__getattribute__(name)

    def __reduce__(self) -> tuple[Any, ...]:
        return ProxyLocker, (self.unlock(),)

    def unlock(self) -> Proxy[T]:
        """The proxy, as it was locked."""
        proxy: Proxy[T] = object.__getattribute__(self, "_proxy")
        return proxy
