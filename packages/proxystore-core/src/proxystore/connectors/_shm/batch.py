"""Many small objects in one pass: one lock for all that are put, one look at each slab."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from proxystore.connectors._shm.keys import ShmKey, place_of
from proxystore.connectors._shm.slab import Slab
from proxystore.connectors._shm.slabs import LARGEST_SLOT, Slabs
from proxystore.connectors.batches import put_each
from proxystore.payload import Payload, payload_nbytes

__all__ = ["put_rest", "put_small", "read_small"]


def put_small(slabs: Slabs, payloads: Sequence[Payload], expiry: int) -> dict[int, ShmKey]:
    """Store those that fit into slots, and that there is room for; keys by their numbers.

    Raises:
        MediumGoneError: The directory is gone.
    """
    sizes = [payload_nbytes(payload) for payload in payloads]
    numbers = [number for number, nbytes in enumerate(sizes) if nbytes <= LARGEST_SLOT]
    places = slabs.put_batch([(payloads[each], sizes[each]) for each in numbers], expiry)
    # Fewer places than numbers, where there was no room.
    return {number: ShmKey(*place) for number, place in zip(numbers, places, strict=False)}


def put_rest(
    payloads: Sequence[Payload],
    small: dict[int, ShmKey],
    put: Callable[[Payload], ShmKey],
    evict: Callable[[ShmKey], None],
) -> list[ShmKey]:
    """The keys of all, in order: those in ``small``, and for others what ``put`` gives.

    If that raises, none of the objects is there. Empties ``small``.
    """
    numbers = count()
    try:
        return put_each(
            payloads, lambda payload: small.pop(next(numbers), None) or put(payload), evict
        )
    finally:
        for key in small.values():
            evict(key)


# Any: what a caller passed as keys, which may be anything.
def read_small(slabs: Slabs, keys: Sequence[Any]) -> list[bytearray | None]:
    """Copies of those that are in slots; `None` for each that is elsewhere, or nowhere.

    Raises:
        InvalidKeyError: One is no `ShmKey`, or a part of it is malformed.
    """
    found: list[bytearray | None] = []
    opened: dict[str, Slab | None] = {}
    for key in keys:
        place = place_of(key)
        if place is not None and place.slab not in opened:
            opened[place.slab] = slabs.slab(place)
        slab = opened[place.slab] if place is not None else None
        found.append(slab.read(place.slot, place.generation) if place and slab else None)
    return found
