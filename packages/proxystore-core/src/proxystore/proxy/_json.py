"""Lets `json` write proxies."""

from __future__ import annotations

from typing import Any

from proxystore.proxy._functions import extract

__all__ = ["json_default"]


def json_default(obj: Any) -> Any:  # Any: what json could not write, and what it writes next.
    """The target of a proxy, for ``json.dumps(obj, default=json_default)``.

    Resolves each proxy that is met. Keys of a `dict` never reach it: `json` refuses
    proxies there, so extract them first.

    Raises:
        TypeError: ``obj`` is neither a proxy nor anything else that `json` can write.
    """
    try:
        return extract(obj)
    except TypeError:
        raise TypeError(
            f"Neither a proxy nor a value that JSON has: found an object of type "
            f"{type(obj).__qualname__}. Convert it, or give json a default that does, which "
            f"calls json_default for the rest."
        ) from None
