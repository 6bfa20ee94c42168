"""Functions on proxies, for any implementation: they use its documented attributes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

    from proxystore.proxy._static import Proxy

__all__ = ["extract", "get_factory", "is_resolved", "resolve", "resolve_async"]

T = TypeVar("T")


def resolve(proxy: Proxy[T]) -> None:
    """Resolve ``proxy`` now; nothing happens if it is resolved.

    Raises:
        ProxyResolveError: The factory raised.
        TypeError: ``proxy`` is not a proxy.
    """
    _own(proxy, "__proxy_wrapped__")


def extract(proxy: Proxy[T]) -> T:
    """The target of ``proxy``, resolving it if need be. Not a copy, never a proxy.

    Raises:
        ProxyResolveError: The factory raised.
        TypeError: ``proxy`` is not a proxy.
    """
    target: T = _own(proxy, "__proxy_wrapped__")
    return target


def is_resolved(proxy: Proxy[T]) -> bool:
    """Whether the target of ``proxy`` is in this process already.

    Raises:
        TypeError: ``proxy`` is not a proxy.
    """
    return bool(_own(proxy, "__proxy_resolved__"))


def get_factory(proxy: Proxy[T]) -> Callable[[], T]:
    """The factory of ``proxy``, without resolving it.

    Raises:
        TypeError: ``proxy`` is not a proxy.
    """
    factory: Callable[[], T] = _own(proxy, "__proxy_factory__")
    return factory


def resolve_async(proxy: Proxy[T]) -> Future[T]:
    """Begin to resolve ``proxy`` in a background thread.

    Use of the proxy meanwhile waits for that thread, or resolves it at once if
    no thread is free yet. In a coroutine:
    ``await asyncio.wrap_future(resolve_async(proxy))``. The threads never keep
    the interpreter from exiting. The future belongs to this process: in a forked
    child it never completes, while the proxy itself can be used there.

    Returns:
        A future of the target. It is done already if the proxy is resolved; it
        holds the `ProxyResolveError` if the factory raises.

    Raises:
        TypeError: ``proxy`` is not a proxy.
    """
    # Imported here: it costs several milliseconds, and few programs need it.
    from proxystore.proxy._background import completed, in_background

    if is_resolved(proxy):
        return completed(extract(proxy))
    return in_background(lambda: extract(proxy))


def _own(proxy: Any, name: str) -> Any:
    try:
        return getattr(proxy, name)
    except AttributeError:
        raise TypeError(
            f"Expected a Proxy, found an object of type {type(proxy).__qualname__}. "
            f"Ask isinstance(x, Proxy) first where both may come."
        ) from None
