"""Futures: proxies of results that do not exist yet, given by one process to others."""

from __future__ import annotations

from proxystore_patterns.futures._factory import FutureFactory
from proxystore_patterns.futures._factory import _load as _load
from proxystore_patterns.futures._future import Future, future
from proxystore_patterns.futures._many import DoneAndNotDone, as_completed, wait

__all__ = ["DoneAndNotDone", "Future", "FutureFactory", "as_completed", "future", "wait"]
