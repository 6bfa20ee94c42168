"""Parts of messages that go by store while a message is on its way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from proxystore.abc import Capability, Key
from proxystore.errors import CapabilityError, ObjectNotFoundError
from proxystore.payload import BytesLike, flat_view
from proxystore.store import Store, get_or_create_store
from proxystore.store.reference import StoreReference

__all__ = ["Route", "Slip"]


class Slip(NamedTuple):
    """Says where the bytes of a large frame are."""

    key: Key


# Any in this module: stores with whatever connectors, addresses of them.
class Route(NamedTuple):
    """The store by which large frames go. Pickles wherever the store can be reached.

    A frame lives for ``lease`` seconds, and for ``grace`` seconds after it was read first:
    engines send messages again after an error, and some to several readers. So nobody
    needs to say that a message has arrived, and lost ones leave nothing for long.
    """

    reference: StoreReference
    min_nbytes: int
    lease: float
    grace: float

    @classmethod
    def by(cls, store: Store[Any], min_nbytes: int, lease: float, grace: float) -> Route:
        """By ``store``.

        Raises:
            CapabilityError: Its connector has no times to live, or reaches one process only.
            ValueError: A number that cannot be.
        """
        if min_nbytes < 1 or lease <= 0 or grace <= 0:
            raise ValueError(
                f"Frames have 1 byte or more, and live for more than 0 seconds. Got "
                f"min_nbytes={min_nbytes}, lease={lease}, grace={grace}."
            )
        for needed in (Capability.CROSS_PROCESS, Capability.LEASABLE):
            if needed not in store.capabilities:
                name = type(store.connector).__name__
                raise CapabilityError("use_store()", name, needed.value)
        return cls(store.reference, min_nbytes, lease, grace)

    def sent(self, frames: Sequence[BytesLike]) -> list[BytesLike | Slip]:
        """``frames``, with slips in place of those that are large, which are stored."""
        return [self._stored(frame) for frame in frames]

    def received(self, frames: Sequence[BytesLike | Slip]) -> list[BytesLike]:
        """What was sent.

        Raises:
            ObjectNotFoundError: It came too late: a lease ended.
        """
        return [self._got(each.key) if isinstance(each, Slip) else each for each in frames]

    def _stored(self, frame: BytesLike) -> BytesLike | Slip:
        # What a memoryview is sent as, and is given as, need not be bytes.
        view = flat_view(frame)
        if view.nbytes < self.min_nbytes:
            return frame
        store = self.store()
        return Slip(store.plain_key(store.put(view, ttl=self.lease)))

    def _got(self, plain_key: Any) -> BytesLike:
        store = self.store()
        key = store.make_key(plain_key)
        frame: BytesLike | None = store.get(key)
        # Nobody reads it again here.
        store.cache.evict(key)
        if frame is None:
            raise ObjectNotFoundError(
                repr(key), type(store.connector).__name__, store.name, evicting=False
            )
        store.touch(key, self.grace)
        return frame

    def store(self) -> Store[Any]:
        """The store, opened here if it is not open."""
        return get_or_create_store(self.reference, register=False)
