"""Many objects in one request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from proxystore.abc import Key, Lifetime, Medium
from proxystore.payload import Payload, payload_nbytes
from proxystore.store._objects import MISSING, UNKNOWN, ObjectStore
from proxystore.store._watch import NO_WATCH, Watch
from proxystore.store.types import ConnectorT, DeserializerT, SerializerT

__all__ = ["BatchStore"]


# Any in this module: objects of every type, and options of connectors.
class BatchStore(ObjectStore[ConnectorT]):
    """An object store that puts and gets many objects at once."""

    def put_batch(
        self,
        objs: Iterable[Any],
        *,
        lifetime: Lifetime | None = None,
        serializer: SerializerT | None = None,
        **kwargs: Any,
    ) -> list[Key]:
        """Store each object; the keys come back in the same order. See `put`."""
        self._check_open()
        watch = self.watch("store.put_batch")
        payloads = [self._codec.dump(obj, serializer) for obj in objs]
        watch.lap("serialize")
        return self._put_batch(payloads, lifetime, kwargs, watch)

    def get_batch(
        self,
        keys: Sequence[Key],
        *,
        deserializer: DeserializerT | None = None,
        default: Any = None,
    ) -> list[Any]:
        """The object of each key, in order, ``default`` where there is none. See `get`.

        What is neither cached nor being got by somebody else is asked of the connector in one
        request. A `get` meanwhile does not wait for that: it makes its own.
        """
        self._check_open()
        found = {key: self._cached(key, deserializer) for key in dict.fromkeys(keys)}
        absent = [key for key, obj in found.items() if obj is MISSING]
        underway = {key for key in absent if self._flights.is_underway((key, deserializer))}
        for key in underway:
            found[key] = self._fetched(key, deserializer)
        together = [key for key in absent if key not in underway]
        again = _repeated(keys)
        landed = self._fetched_together(together, again, deserializer)
        found |= {key: obj for key, (obj, _) in landed.items()}
        objs = []
        for key in keys:
            obj = found.pop(key, UNKNOWN)
            if obj is UNKNOWN:
                # It came before, and nobody shares an array: what others may get is kept for this.
                _, others = landed.get(key, (None, UNKNOWN))
                obj = self._own(others, deserializer)
            if obj is UNKNOWN:
                obj = self.get(key, deserializer=deserializer, default=MISSING)
            objs.append(default if obj is MISSING else obj)
        return objs

    def _fetched_together(
        self, keys: list[Key], again: set[Key], deserializer: DeserializerT | None
    ) -> dict[Key, tuple[Any, Any]]:
        """The objects in the medium, and what others may get of those in ``again``: one request."""
        if not keys:
            return {}
        unasked = {key for key in keys if self._is_uncached(key)}
        tags = [
            (deserializer, None) if key in unasked else self._tag(key, deserializer) for key in keys
        ]
        landed = {}
        for key, tag, data in zip(keys, tags, self._connector.get_batch(keys), strict=True):
            landed[key] = self._loaded(key, data, tag, partial(again.__contains__, key), NO_WATCH)
        for key in unasked:
            self._got.set(key, None)
        return landed

    def _is_uncached(self, key: Key) -> bool:
        """Whether not to cache the object, as its generation would take a request of its own.

        What is got for the second time is worth that.
        """
        is_far = self._connector.medium is Medium.NETWORK
        return is_far and self._replaceable is not None and not self._got.exists(key)

    def _put_batch(
        self,
        payloads: Sequence[Payload],
        lifetime: Lifetime | None,
        options: dict[str, Any],
        watch: Watch,
    ) -> list[Key]:
        keys: list[Key] = self._connector.put_batch(payloads, **options)
        watch.lap("connector")
        self._added(keys, lifetime)
        watch.note("object_sizes", [payload_nbytes(payload) for payload in payloads])
        watch.stop(tuple(keys))
        return keys


def _repeated(keys: Sequence[Key]) -> set[Key]:
    """Those that come more than once."""
    counts = Counter(keys)
    return {key for key, n in counts.items() if n > 1}
