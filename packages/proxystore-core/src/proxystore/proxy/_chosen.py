"""The implementation of `Proxy` that this process uses, and what its pickles call."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from proxystore.proxy._variants import Variant, fit

if TYPE_CHECKING or os.environ.get("PROXYSTORE_PURE_PYTHON", "0") not in {"", "0"}:
    from proxystore.proxy._pure import Proxy
else:
    try:
        from proxystore.proxy._c import Proxy
    except ImportError as error:
        # A wheel that was built without a compiler has none. One that is there but
        # does not load is an error: the twin would only be slower, unnoticed.
        if not isinstance(error, ModuleNotFoundError) or error.name != "proxystore.proxy._c":
            raise ImportError(
                f"The C implementation of proxystore.proxy does not load here: {error}. Set "
                f"PROXYSTORE_PURE_PYTHON=1 in the environment to use the pure-Python one.",
                name=error.name,
                path=error.path,
            ) from error
        from proxystore.proxy._pure import Proxy

__all__ = ["Proxy", "load"]

_record_class: Any = vars(Proxy)["__proxy_recorded_class__"].__set__


def load(
    factory: Callable[[], Any],  # Any: targets are of any type.
    class_name: str | None = None,
    variant: int = Variant.OBJECT,
) -> Proxy[Any]:
    """The unresolved proxy of a pickle, whichever implementation wrote it. Imports nothing.

    Args:
        factory: The factory of the proxy.
        class_name: ``module.qualname`` of the recorded class.
        variant: A `Variant`. One that is not known here is ignored.
    """
    proxy: Proxy[Any] = Proxy(factory)
    fit(proxy, variant)
    if class_name is not None:
        _record_class(proxy, class_name)
    return proxy


# The name in each pickle: short, and the same for every implementation.
load.__module__, load.__qualname__, load.__name__ = "proxystore.proxy", "_load", "_load"
