"""Batches of objects, for connectors that store them one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from proxystore.abc import KeyT
from proxystore.errors import ClosedError, ConnectorUnavailableError
from proxystore.payload import Payload

__all__ = ["put_each"]


def put_each(
    payloads: Iterable[Payload], put: Callable[[Payload], KeyT], evict: Callable[[KeyT], None]
) -> list[KeyT]:
    """The keys that ``put`` gives, in order. If it raises, those before are evicted.

    Also when it is interrupted. What ``put`` raised is the news, even if the medium
    fails again on the way back.
    """
    keys: list[KeyT] = []
    try:
        for payload in payloads:
            keys.append(put(payload))  # noqa: PERF401 - those so far count
    except BaseException:
        with suppress(ClosedError, ConnectorUnavailableError):
            for key in keys:
                evict(key)
        raise
    return keys
