"""Keys before their objects, and what else only some connectors can do."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from proxystore.abc import Capability, Key, Lifetime
from proxystore.errors import CapabilityError
from proxystore.payload import payload_nbytes
from proxystore.store._twins import AsyncObjectStore, in_background
from proxystore.store.types import ConnectorT, SerializerT

__all__ = ["DeferringStore"]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.25
# Of the time waited so far: so little later than it could does a wait end.
_SHARE = 0.1


# Any in this module: objects of every type, and options of connectors.
class DeferringStore(AsyncObjectStore[ConnectorT]):
    """An object store whose keys can be made before their objects.

    What a connector cannot do raises `CapabilityError`; `wait` works on every one.
    """

    def new_key(self, object_id: str | None = None) -> Key:
        """A key that has no object yet. Asks nobody.

        Args:
            object_id: 1 to 64 characters of ``[A-Za-z0-9_-]``; the same id gives
                an equal key in every process. `None` makes a fresh one.

        Raises:
            CapabilityError: The connector is not `Deferrable`.
            InvalidKeyError: ``object_id`` has other characters or length.
        """
        key: Key = self._able(Capability.DEFERRABLE, "Store.new_key()").new_key(object_id)
        return key

    def set(
        self,
        key: Key,
        obj: Any,
        *,
        lifetime: Lifetime | None = None,
        serializer: SerializerT | None = None,
        **kwargs: Any,
    ) -> None:
        """Store ``obj`` under a key of `new_key`, at once and once.

        Args:
            key: Without an object.
            obj: As for `put`, and so are the others.
            lifetime: Evicts the object when it ends.
            serializer: Used instead of the store's.
            kwargs: Passed to the connector's `set`, such as ``ttl``.

        Raises:
            KeyAlreadySetError: The key has an object, which was not changed.
            CapabilityError: The connector is not `Deferrable`.
            SerializationError: Nothing can serialize the object.
            MediumFullError: There is no room. Nothing was stored.
            ConnectorUnavailableError: The medium cannot be reached.
        """
        connector = self._able(Capability.DEFERRABLE, "Store.set()")
        watch = self.watch("store.set")
        payload = self._codec.dump(obj, serializer)
        watch.lap("serialize")
        connector.set(key, payload, **kwargs)
        watch.lap("connector")
        self._added((key,), lifetime)
        watch.note("object_size", payload_nbytes(payload))
        watch.stop(key)

    def replace(self, key: Key, obj: Any, *, serializer: SerializerT | None = None) -> None:
        """Put ``obj`` in place of the object of ``key``, for all who get it from now on.

        What was got before stays as it was.

        Raises:
            KeyNotSetError: The key has no object to replace.
            CapabilityError: The connector is not `Replaceable`.
            SerializationError: Nothing can serialize the object.
            MediumFullError: There is no room. Nothing was changed.
            ConnectorUnavailableError: The medium cannot be reached.
        """
        connector = self._able(Capability.REPLACEABLE, "Store.replace()")
        watch = self.watch("store.replace")
        payload = self._codec.dump(obj, serializer)
        watch.lap("serialize")
        connector.replace(key, payload)
        watch.lap("connector")
        watch.note("object_size", payload_nbytes(payload))
        watch.stop(key)

    def wait(self, key: Key, timeout: float | None = None) -> bool:
        """Block until ``key`` has an object; `False` after ``timeout`` seconds.

        The medium tells where it can (`Waitable`). Elsewhere the store looks, after
        pauses of a tenth of the time waited so far, a quarter of a second at most.

        Raises:
            ValueError: ``timeout`` is not a number.
            StoreClosedError: The store was closed.
            ConnectorUnavailableError: The medium cannot be reached.
        """
        self._check_open()
        _require_number(timeout)
        watch = self.watch("store.wait")
        if Capability.WAITABLE in self._capabilities:
            # Any: what the capability says that the connector has.
            waitable: Any = self._connector
            found = bool(waitable.wait(key, timeout))
        else:
            found = self._look_until(key, timeout)
        watch.stop(key)
        return found

    def notify(self, key: Key, call: Callable[[], None]) -> Callable[[], None] | None:
        """Have ``call`` made when ``key`` may have got an object, as `Notifier.notify`.

        Returns:
            What ends it; `None` if nobody makes such calls, so that the caller must look.

        Raises:
            StoreClosedError: The store was closed.
            ConnectorUnavailableError: The medium cannot be reached.
        """
        self._check_open()
        # Any: whether the connector has such a method is asked here.
        connector: Any = self._connector
        if not hasattr(connector, "notify"):
            return None
        leave: Callable[[], None] | None = connector.notify(key, call)
        return leave

    def touch(self, key: Key, ttl: float | None) -> bool:
        """Let the object end ``ttl`` seconds from now (`None`: never), by the medium's doing.

        Returns:
            `False` if there is no object (or it had expired).

        Raises:
            CapabilityError: The connector is not `Leasable`.
            ConnectorUnavailableError: The medium cannot be reached.
        """
        return bool(self._able(Capability.LEASABLE, "Store.touch()").touch(key, ttl))

    async def aset(
        self,
        key: Key,
        obj: Any,
        *,
        lifetime: Lifetime | None = None,
        serializer: SerializerT | None = None,
        **kwargs: Any,
    ) -> None:
        """As `set`."""
        await in_background(
            partial(self.set, key, obj, lifetime=lifetime, serializer=serializer, **kwargs)
        )

    async def areplace(self, key: Key, obj: Any, *, serializer: SerializerT | None = None) -> None:
        """As `replace`."""
        await in_background(partial(self.replace, key, obj, serializer=serializer))

    async def await_(
        self,
        key: Key,
        timeout: float | None = None,  # noqa: ASYNC109 - as the method that it is the twin of
    ) -> bool:
        """As `wait`; looks on every medium, for a thread that waited would be one less."""
        # Imported here: it takes longer than all else that a store imports.
        import asyncio

        _require_number(timeout)
        if await self.aexists(key):
            return True
        for pause in _pauses(timeout):
            await asyncio.sleep(pause)
            if await self.aexists(key):
                return True
        return False

    async def atouch(self, key: Key, ttl: float | None) -> bool:
        """As `touch`."""
        return await in_background(partial(self.touch, key, ttl))

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the connector can do."""
        return self._capabilities

    def _able(self, capability: Capability, asked: str) -> Any:
        """The connector, which can do what ``asked`` needs."""
        self._check_open()
        if capability not in self._capabilities:
            raise CapabilityError(asked, type(self.connector).__name__, capability.value)
        return self._connector

    def _look_until(self, key: Key, timeout: float | None) -> bool:
        if self.exists(key):
            return True
        for pause in _pauses(timeout):
            time.sleep(pause)
            if self.exists(key):
                return True
        return False


def _require_number(timeout: float | None) -> None:
    # Compared with any time it is neither before nor after, so that waits would never end.
    if timeout is not None and math.isnan(timeout):
        raise ValueError("A timeout is in seconds, or None to wait for ever; it was nan.")


def _pauses(timeout: float | None) -> Iterator[float]:
    """Seconds between looks until ``timeout`` is over, at random so that waiters spread."""
    begun = time.monotonic()
    while True:
        waited = time.monotonic() - begun
        if timeout is not None and waited >= timeout:
            return
        pause = min(max(_FIRST_PAUSE, waited * _SHARE), _LONGEST_PAUSE)
        # The module random takes 10 ms to import.
        pause *= 0.5 + os.urandom(1)[0] / 510
        yield pause if timeout is None else min(pause, timeout - waited)
