"""What a store made with ``metrics=True`` measured, per object.

Times: ``store.put`` with its parts ``.serialize`` and ``.connector``, and so
``store.set`` and ``store.replace``; ``store.get`` with ``.connector`` and
``.deserialize``; ``store.exists``, ``store.evict``, ``store.put_batch``,
``store.wait``, ``store.proxy``, ``store.proxy_batch``, ``factory.resolve``.
Counters: ``store.get.cache_hits`` and ``.cache_misses``. Attributes, in bytes:
``store.put.object_size``, ``store.put_batch.object_sizes``,
``store.set.object_size``, ``store.replace.object_size``, ``store.get.object_size``.
"""

from __future__ import annotations

import copy
import threading
import time
from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

from proxystore.host.forks import remake_in_child
from proxystore.proxy import Proxy, get_factory
from proxystore.store._watch import Watch

__all__ = ["Metrics", "StoreMetrics", "TimeStats"]

_NS_PER_MS = 1_000_000


@dataclass
class TimeStats:
    """How long an event took, in milliseconds, over all times that it happened."""

    count: int = 0
    avg_time_ms: float = 0.0
    min_time_ms: float = float("inf")
    max_time_ms: float = 0.0
    last_time_ms: float = 0.0
    last_timestamp: float = 0.0
    """When the event last ended, in seconds since the epoch."""

    def add(self, time_ms: float, timestamp: float) -> None:
        """Count one more event."""
        self.avg_time_ms = (self.avg_time_ms * self.count + time_ms) / (self.count + 1)
        self.count += 1
        self.min_time_ms = min(self.min_time_ms, time_ms)
        self.max_time_ms = max(self.max_time_ms, time_ms)
        self.last_time_ms, self.last_timestamp = time_ms, timestamp

    def merge(self, other: TimeStats) -> None:
        """Count the events of ``other`` too."""
        count = self.count + other.count
        if count:
            total = self.avg_time_ms * self.count + other.avg_time_ms * other.count
            self.avg_time_ms = total / count
        self.count = count
        self.min_time_ms = min(self.min_time_ms, other.min_time_ms)
        self.max_time_ms = max(self.max_time_ms, other.max_time_ms)
        if other.last_timestamp >= self.last_timestamp:
            self.last_time_ms, self.last_timestamp = other.last_time_ms, other.last_timestamp


@dataclass
class Metrics:
    """Everything that was measured about one object, by name of the event."""

    # Any: sizes, or lists of them.
    attributes: dict[str, Any] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    times: dict[str, TimeStats] = field(default_factory=lambda: defaultdict(TimeStats))


class StoreMetrics:
    """The measurements of a store. Thread safe.

    Kept per object for as long as the store is open: some 1 KB per object.
    """

    def __init__(self) -> None:
        self._metrics: defaultdict[Hashable, Metrics] = defaultdict(Metrics)
        # Reentrant: a garbage collection can run a finalizer that evicts an object,
        # which is measured too, in the midst of any method here.
        self._lock = threading.RLock()
        remake_in_child(self)

    # Any: sizes, or lists of them.
    def add_attribute(self, name: str, key: Hashable, value: Any) -> None:
        """Note ``value`` about the object of ``key``, in place of an older one."""
        with self._lock:
            self._metrics[key].attributes[name] = value

    def add_counter(self, name: str, key: Hashable, value: int = 1) -> None:
        """Add ``value`` to a counter of the object."""
        with self._lock:
            self._metrics[key].counters[name] += value

    def add_time(self, name: str, key: Hashable, time_ns: int) -> None:
        """Count an event that concerned the object, ended now and took ``time_ns``."""
        with self._lock:
            self._metrics[key].times[name].add(time_ns / _NS_PER_MS, time.time())

    def aggregate_times(self) -> dict[str, TimeStats]:
        """Times by name of the event, over all objects."""
        total: defaultdict[str, TimeStats] = defaultdict(TimeStats)
        with self._lock:
            for metrics in list(self._metrics.values()):
                for name, stats in list(metrics.times.items()):
                    total[name].merge(stats)
        return dict(total)

    # Any: proxies of any target.
    def get_metrics(self, key: Any) -> Metrics | None:
        """A copy of what was measured about an object, or `None` if nothing was.

        Args:
            key: A key or a proxy; or a sequence of them, for the events that
                concerned them together, as one batch.
        """
        with self._lock:
            found = self._metrics.get(_key_of(key))
            return copy.deepcopy(found)

    def watch(self, event: str) -> Watch:
        """Follow an event, and measure it."""
        return _Stopwatch(self, event)

    def remade_in_child(self) -> None:
        """Make the lock anew; what was measured remains."""
        self._lock = threading.RLock()


class _Stopwatch(Watch):
    __slots__ = (
        "_attributes",
        "_counters",
        "_event",
        "_last_ns",
        "_metrics",
        "_start_ns",
        "_times",
    )

    def __init__(self, metrics: StoreMetrics, event: str) -> None:
        self._metrics, self._event = metrics, event
        self._times: list[tuple[str, int]] = []
        self._counters: list[str] = []
        self._attributes: list[tuple[str, Any]] = []
        self._start_ns = self._last_ns = time.perf_counter_ns()

    def lap(self, part: str) -> None:
        now_ns = time.perf_counter_ns()
        self._times.append((f"{self._event}.{part}", now_ns - self._last_ns))
        self._last_ns = now_ns

    def count(self, name: str) -> None:
        self._counters.append(f"{self._event}.{name}")

    def note(self, name: str, value: Any) -> None:
        self._attributes.append((f"{self._event}.{name}", value))

    def stop(self, key: Hashable, *, total: bool = True) -> None:
        if total:
            self._times.append((self._event, time.perf_counter_ns() - self._start_ns))
        for name, time_ns in self._times:
            self._metrics.add_time(name, key, time_ns)
        for name in self._counters:
            self._metrics.add_counter(name, key)
        for name, value in self._attributes:
            self._metrics.add_attribute(name, key, value)


def _key_of(key: Any) -> Hashable:
    if isinstance(key, Proxy):
        # Any: a factory of a store has a key; of another one nothing was measured.
        factory: Any = get_factory(key)
        found: Hashable = getattr(factory, "key", None)
        return found
    # Keys are tuples too; a batch is a sequence of keys or proxies.
    if isinstance(key, Iterable) and not isinstance(key, str) and not hasattr(key, "_fields"):
        return tuple(_key_of(each) for each in key)
    hashable: Hashable = key
    return hashable

