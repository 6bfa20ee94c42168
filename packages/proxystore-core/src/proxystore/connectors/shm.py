"""`ShmConnector`: objects in shared memory, where every process of this node finds them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial, wraps
from typing import ClassVar, Concatenate, ParamSpec, TypeVar

from proxystore.abc import Acknowledgement, Capability, Medium
from proxystore.connectors._file.addressed import AddressedConnector
from proxystore.connectors._file.attachment import Attachment
from proxystore.connectors._file.failures import FULL, explained
from proxystore.connectors._file.media import media_folder
from proxystore.connectors._file.reading import UNMAPPABLE
from proxystore.connectors._file.sweep import Collected
from proxystore.connectors._shm.batch import put_rest, put_small, read_small
from proxystore.connectors._shm.census import Census, Use, census_of, take_census
from proxystore.connectors._shm.keys import ShmEntry, ShmKey, moved_name, place_of, place_of_moved
from proxystore.connectors._shm.mapped import Mapped, mappings, removed_nbytes
from proxystore.connectors._shm.opening import owned
from proxystore.connectors._shm.slab import Slab
from proxystore.connectors._shm.slabs import LARGEST_SLOT, Place, Slabs
from proxystore.connectors._shm.spill import SpillingObjects
from proxystore.connectors.keys import fresh_id
from proxystore.connectors.options import check_range, checked_ttl
from proxystore.errors import InvalidKeyError, KeyAlreadySetError, KeyNotSetError, MediumGoneError
from proxystore.host.clocks import boot_ns
from proxystore.payload import BytesLike, Payload, payload_nbytes

__all__ = [
    "Census",
    "Mapped",
    "ShmConnector",
    "ShmEntry",
    "ShmKey",
    "Use",
    "census_of",
    "mappings",
    "media_folder",
    "removed_nbytes",
]

P = ParamSpec("P")
R = TypeVar("R")

_CAPABILITIES = frozenset({
    Capability.CROSS_PROCESS,
    Capability.DEFERRABLE,
    Capability.LEASABLE,
    Capability.RANGED,
    Capability.REPLACEABLE,
    Capability.WAITABLE,
})


def _in_present_directory(
    operation: Callable[Concatenate[ShmConnector, P], R],
) -> Callable[Concatenate[ShmConnector, P], R]:
    """``operation``, tried again where another directory took the place, its errors explained."""

    @wraps(operation)
    def tried(self: ShmConnector, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return operation(self, *args, **kwargs)
        except MediumGoneError:
            self._let_go()
            if not self._attachment.leave():
                raise
        except OSError as error:
            raise explained(error, self._attachment.address.path) from error
        return operation(self, *args, **kwargs)

    return tried


class ShmConnector(AddressedConnector[ShmKey]):
    """Keeps objects in the shared memory of this node, for this user's processes.

    What `Store` uses that is given no connector. A small object, up to 64 KiB,
    takes a slot in memory that its process has mapped, and is read without a
    system call; a larger one fills the file of one that was evicted, if there
    is any, for the pages of a new one cost ten times the copy.

    The process that makes the connector owns the objects. It clears them on
    `close`, or when it ends; after kill -9 the next one that makes a connector
    does, or ``proxystore gc``. Connectors made from its URL or config own nothing.

    `get` gives writable memory of the caller's own: a copy, or for large objects a
    view of which only changed pages cost memory. It stays as it is when the
    object goes, across `close`, and in forked children.

    Storing or reading 1 KB costs some 3 us; of 100 MB, storing costs the copy, and
    reading 20 us.

    It takes no more memory than it may, whichever process stores: then it gives back what
    it kept to be filled again, and after that objects go to a private directory on
    disk, with one warning a process. They are read, changed and removed like others, and
    those up to 16 MiB come back when they are read and there is room again.

    Args:
        max_nbytes: Bytes of shared memory to take; the default is the smaller of 25 %
            of what is free and 10 % of the memory of the machine or control group.
        collect: Remove the objects of up to 64 dead owners first.

    Raises:
        ValueError: ``max_nbytes`` is negative.
        UnsafeDirectoryError: Somebody else made the directory that holds them.
        ConnectorUnavailableError: The system refused.
    """

    key_type: ClassVar[type] = ShmKey
    scheme: ClassVar[str] = "shm"

    def __init__(self, *, max_nbytes: int | None = None, collect: bool = True) -> None:
        self._set_up(owned(max_nbytes, collect=collect))

    def _set_up(self, attachment: Attachment) -> None:
        super()._set_up(attachment)
        self._objects = SpillingObjects(attachment)
        self._slabs: Slabs | None = None

    @property
    def capabilities(self) -> frozenset[Capability]:
        return _CAPABILITIES

    @property
    def acknowledges(self) -> Acknowledgement:
        return Acknowledgement.PROCESS

    def _let_go(self) -> None:
        self._objects.let_go()
        self._slabs = None

    # --- Objects ----------------------------------------------------------------

    @_in_present_directory
    def put(self, payload: Payload, *, ttl: float | None = None) -> ShmKey:
        nbytes = payload_nbytes(payload)
        if nbytes <= LARGEST_SLOT and self.medium is Medium.SHARED_MEMORY:
            place = self._put_in_slab(payload, nbytes, _expiry(ttl))
            if place is not None:
                return ShmKey(*place)
        return ShmKey(self._objects.put(payload, ttl))

    @_in_present_directory
    def put_batch(self, payloads: Sequence[Payload], *, ttl: float | None = None) -> list[ShmKey]:
        """As `Connector.put_batch`. If one fails, none is there."""
        in_memory = self.medium is Medium.SHARED_MEMORY
        small = put_small(self._open_slabs(), payloads, _expiry(ttl)) if in_memory else {}
        return put_rest(payloads, small, partial(self.put, ttl=ttl), self.evict)

    def get(self, key: ShmKey) -> BytesLike | None:
        """As `Connector.get`: writable memory that is the caller's own."""
        return self.get_with_generation(key)[0]

    @_in_present_directory
    def get_batch(self, keys: Sequence[ShmKey]) -> list[BytesLike | None]:
        small = read_small(self._open_slabs(), keys)
        return [
            self.get(key) if data is None else data for key, data in zip(keys, small, strict=True)
        ]

    def get_with_generation(self, key: ShmKey) -> tuple[BytesLike | None, int | None]:
        return self._read(key, 0, None) or (None, None)

    def get_range(self, key: ShmKey, offset: int, length: int) -> BytesLike | None:
        check_range(offset, length)
        found = self._read(key, offset, length)
        return None if found is None else found[0]

    @_in_present_directory
    def _read(self, key: ShmKey, offset: int, length: int | None) -> tuple[BytesLike, int] | None:
        place = place_of(key)
        if place is None:
            return self._objects.read(key.name, offset, length)
        slab = self._slab(place)
        if slab is None:
            return None
        data = slab.read(place.slot, place.generation, offset, length)
        if data is not None:
            return data, 0
        if slab.is_moved(place.slot, place.generation):
            return self._objects.read(moved_name(place), offset, length)
        return None

    @_in_present_directory
    def exists(self, key: ShmKey) -> bool:
        place = place_of(key)
        if place is None:
            return self._objects.exists(key.name)
        slab = self._slab(place)
        return slab is not None and slab.holds(place.slot, place.generation)

    @_in_present_directory
    def evict(self, key: ShmKey) -> None:
        """As `Connector.evict`. Where the medium is gone there is nothing to evict."""
        place = place_of(key)
        if place is None:
            self._objects.evict(key.name)
            return
        slabs = self._open_slabs()
        slab = slabs.slab(place)
        if slab is None:
            return
        moved = slab.is_moved(place.slot, place.generation)
        slabs.evict(place)
        if moved:
            self._objects.evict(moved_name(place))

    # --- Keys made first ----------------------------------------------------------

    def new_key(self, object_id: str | None = None) -> ShmKey:
        self._attachment.require_open()
        key = ShmKey(fresh_id() if object_id is None else object_id)
        place_of(key)
        return key

    def set(self, key: ShmKey, payload: Payload, *, ttl: float | None = None) -> None:
        if place_of(key) is None:
            self._objects.set(key.name, payload, ttl)
        elif self.exists(key):
            raise KeyAlreadySetError(repr(key))
        else:
            raise InvalidKeyError(repr(key), "a key that new_key() made")

    @_in_present_directory
    def wait(self, key: ShmKey, timeout: float | None = None) -> bool:
        """As `Waitable.wait`. Wakes within a millisecond, whichever process sets the key.

        Raises:
            MediumGoneError: The owner closed it.
        """
        place_of(key)
        return self._objects.wait(key.name, lambda: self.exists(key), timeout)

    @_in_present_directory
    def notify(self, key: ShmKey, call: Callable[[], None]) -> Callable[[], None] | None:
        """As `Notifier.notify`; tells nothing where the system does not."""
        from proxystore.host.arrivals import call_on

        place_of(key)
        directory = self._attachment.directory()
        try:
            return call_on(directory.fd, key.name, call)
        except OSError:
            return None

    # --- Changes ------------------------------------------------------------------

    @_in_present_directory
    def replace(self, key: ShmKey, payload: Payload) -> None:
        """As `Replaceable.replace`. The object keeps its time to live."""
        place = place_of(key)
        if place is None:
            self._objects.replace(key.name, payload)
            return
        slab = self._slab(place)
        with self._open_slabs().changing:
            if slab is None or not slab.holds(place.slot, place.generation):
                raise KeyNotSetError(repr(key))
            if slab.is_moved(place.slot, place.generation):
                self._objects.replace(moved_name(place), payload)
            else:
                # Of one who died just here.
                self._objects.evict(moved_name(place))
                self._objects.set(moved_name(place), payload, None)
                slab.move(place.slot)

    @_in_present_directory
    def generation(self, key: ShmKey) -> int | None:
        place = place_of(key)
        if place is None:
            return self._objects.generation(key.name)
        slab = self._slab(place)
        if slab is None or not slab.holds(place.slot, place.generation):
            return None
        if slab.is_moved(place.slot, place.generation):
            return self._objects.generation(moved_name(place))
        return 0

    @_in_present_directory
    def touch(self, key: ShmKey, ttl: float | None) -> bool:
        place = place_of(key)
        if place is None:
            return self._objects.touch(key.name, ttl)
        slab, expiry = self._slab(place), _expiry(ttl)
        with self._open_slabs().changing:
            return slab is not None and slab.renew(place.slot, place.generation, expiry)

    # --- What is there --------------------------------------------------------------

    @_in_present_directory
    def entries(self) -> Iterator[ShmEntry]:
        """Every object there is now, in no order.

        Raises:
            ConnectorUnavailableError: The directory cannot be read or is gone.
        """
        in_files = [ShmEntry(ShmKey(each.name), *each[1:]) for each in self._objects.entries()]
        since_boot = time.time() - boot_ns() / 1e9
        for place, nbytes, expiry in self._open_slabs().entries():
            expires = since_boot + expiry / 1e9 if expiry else None
            in_files.append(ShmEntry(ShmKey(*place), nbytes, None, expires))
        return iter(in_files)

    @_in_present_directory
    def census(self) -> Census:
        """What every byte that the medium takes is for.

        Raises:
            ConnectorUnavailableError: The directory cannot be read or is gone.
        """
        directory = self._attachment.directory()
        directory.require_present()
        return take_census(directory)

    @_in_present_directory
    def gc(self) -> Collected:
        """As `FileConnector.gc`; also removes what dead processes had reserved.

        Raises:
            ConnectorUnavailableError: The directory cannot be read or is gone.
        """
        slabs = self._open_slabs()
        expired, nbytes = slabs.collect()
        with slabs.changing:
            for name in self._objects.moved():
                place = place_of_moved(name)
                if place is None or not slabs.holds_moved(place):
                    self._objects.evict(name)
        # Last: what was evicted just now waits to be filled again.
        collected = self._objects.gc()
        return Collected(collected.orphans, collected.expired + expired, collected.nbytes + nbytes)

    # --- Inside -------------------------------------------------------------------

    def _put_in_slab(self, payload: Payload, nbytes: int, expiry: int) -> Place | None:
        try:
            return self._open_slabs().put(payload, nbytes, expiry)
        except OSError as error:
            # Where there is no room for a slab, there may be for a file: or on disk.
            if error.errno not in FULL | UNMAPPABLE:
                raise
        return None

    def _slab(self, place: Place) -> Slab | None:
        slabs = self._open_slabs()
        slab = slabs.slab(place)
        if slab is None:
            slabs.directory.require_present()
        return slab

    def _open_slabs(self) -> Slabs:
        directory = self._attachment.directory()
        slabs = self._slabs
        if slabs is None or slabs.directory is not directory:
            slabs = self._slabs = Slabs(directory)
        return slabs


def _expiry(ttl: float | None) -> int:
    ttl = checked_ttl(ttl)
    # Not beyond what the words of a slab hold.
    return 0 if ttl is None else boot_ns() + int(min(ttl, 1e9) * 1e9)
