"""Proxies: objects that stand for another and fetch it at their first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from proxystore._marker import require_whole
from proxystore.errors import ProxyReentryError, ProxyResolveError
from proxystore.proxy._chosen import load as _load
from proxystore.proxy._functions import extract, get_factory, is_resolved, resolve, resolve_async
from proxystore.proxy._json import json_default
from proxystore.proxy._locker import ProxyLocker
from proxystore.proxy._probes import PROBE_NAMES

if TYPE_CHECKING:
    from proxystore.proxy._static import Proxy
else:
    from proxystore.proxy._chosen import Proxy

__all__ = [
    "PROBE_NAMES",
    "DefaultClassType",
    "DefaultHashType",
    "FactoryType",
    "Proxy",
    "ProxyLocker",
    "ProxyOr",
    "ProxyReentryError",
    "ProxyResolveError",
    "_load",
    "extract",
    "get_factory",
    "is_resolved",
    "json_default",
    "resolve",
    "resolve_async",
]

require_whole()

T = TypeVar("T")

FactoryType: TypeAlias = Callable[[], T]
DefaultClassType: TypeAlias = type | None
DefaultHashType: TypeAlias = int | Exception | None
ProxyOr: TypeAlias = Proxy[T] | T
