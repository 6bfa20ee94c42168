"""Objects with many owners in many processes, which go with the last of them.

Owners are counted in the medium. Each process that has one, and each pickle that is on its
way, has a place: a number that is never given twice, with a lease while it is taken. Places are
given in order, so whoever leaves looks from the first on, and finds either somebody who is
still there or that it was the last. What arrives takes a place of its own before it gives that
of its pickle up, and so is never missed. The object has a lease too, which all owners
renew: it ends when all of them are dead.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Callable
from typing import Any, TypeVar

from proxystore.abc import Capability
from proxystore.connectors.keys import fresh_id
from proxystore.errors import ProxyStoreError
from proxystore.proxy import Proxy, extract, is_resolved
from proxystore.store import Store
from proxystore_patterns._options import checked_seconds
from proxystore_patterns.errors import ReferenceInvalidError
from proxystore_patterns.lifetimes._ends import at_end
from proxystore_patterns.lifetimes._renewal import Renewal
from proxystore_patterns.ownership._claims import expired, forked
from proxystore_patterns.ownership._estate import Estate
from proxystore_patterns.ownership._guard import Guarded
from proxystore_patterns.ownership._kinds import (
    Bound,
    SharedProxy,
    make,
    name_in_pickles,
    weakly,
)
from proxystore_patterns.ownership._options import check_options
from proxystore_patterns.ownership._records import Records, require

__all__ = ["share"]

T = TypeVar("T")

_WHAT = "SharedProxy"
_FIRST = 0


class _Places:
    """The places of one object. ``seconds`` is how long each lasts without being renewed."""

    def __init__(self, estate: Estate) -> None:
        self.estate, self.seconds = estate, estate.borrow_lease
        self._first = _FIRST
        """None before it is taken, or ever will be."""

    @property
    def _records(self) -> Records:
        return self.estate.records()

    def take(self, after: int) -> int:
        """A new place, later than ``after``, which was given."""
        records, place = self._records, self._last(after) + 1
        while not records.set(f"n{place}"):
            place += 1
        records.set(f"s{place}", self.seconds)
        return place

    def _last(self, given: int) -> int:
        # Places are given without gaps, so the last is found by doubling and halving.
        records, step = self._records, 1
        while records.exists(f"n{given + step}"):
            given, step = given + step, step * 2
        while step > 1:
            step //= 2
            if records.exists(f"n{given + step}"):
                given += step
        return given

    def renew(self, place: int) -> bool:
        """Keep a place, and the object; `False` if either is gone."""
        return self._records.touch(f"s{place}", self.seconds) and self.renew_object()

    def renew_object(self) -> bool:
        """Keep the object; `False` if it is gone."""
        return self.estate.store.touch(self.estate.key, self.seconds)

    def leave(self, place: int) -> None:
        """Give a place up, and remove the object if no other is taken."""
        records = self._records
        records.remove(f"s{place}")
        while not records.exists(f"s{self._first}"):
            if not records.exists(f"n{self._first + 1}"):
                self._remove(records)
                return
            self._first += 1

    def _remove(self, records: Records) -> None:
        # The object first: who takes a place again finds that it is gone.
        self.estate.store.evict(self.estate.key)
        for place in range(self._first, -1, -1):
            records.remove(f"n{place}")

    def forget(self, place: int) -> None:
        """Give a place up that was taken for an object that was gone."""
        self._records.remove(f"n{place}")
        self._records.remove(f"s{place}")

    def give_up(self, place: int) -> None:
        """Let a place of a pickle go, whose object has another owner by now."""
        self._records.remove(f"s{place}")


class _Stay(Guarded):
    """One owner: this process, from when it took its place until it leaves. Thread safe.

    Args:
        places: Of the object.
        given: A place that was given before: that of the pickle, if there was one.
    """

    def __init__(self, places: _Places, given: int) -> None:
        super().__init__()
        self.places, self.given = places, given
        self.lost: Callable[[], None] | None = None
        """Called from another thread if the lease could not be renewed in time."""
        self._pid = os.getpid()
        self._lease: Renewal | None = None
        self._error: ReferenceInvalidError | None = None

    def hold(self) -> None:
        """Be one of the owners.

        Raises:
            ReferenceInvalidError: The object is gone, or may be.
        """
        with self.lock:
            if self._error is not None:
                raise copy.copy(self._error)
            if self._lease is None:
                self._arrive()
            elif self._pid != os.getpid():
                raise forked(_WHAT)

    def begin(self, place: int) -> None:
        """Have ``place`` from now on."""
        self.given, self._pid = place, os.getpid()
        self._lease = Renewal(
            self.places.seconds,
            lambda: self.places.renew(place),
            lane=self.places.estate.store,
            lost=self._expire,
        )

    def leave(self) -> None:
        """Give the place up, and remove the object if it was the last. Does so once."""
        with self.lock:
            lease, self._lease = self._lease, None
            self._error = self._error or _left()
            if lease is not None and self._pid == os.getpid():
                lease.end()
                # Of a store that is closed, or a medium that is gone: all leases end there.
                with contextlib.suppress(ProxyStoreError):
                    self.places.leave(self.given)

    def _arrive(self) -> None:
        pickled = self.given
        place = self.places.take(pickled)
        if not self.places.renew_object():
            self.places.forget(place)
            self._error = _gone()
            raise copy.copy(self._error)
        self.places.give_up(pickled)
        self.begin(place)

    def _expire(self) -> None:
        self._error = expired(_WHAT, self.places.seconds)
        if self.lost is not None:
            self.lost()


class SharedFactory(Bound):
    """The factory of a `SharedProxy`."""

    def __init__(self, stay: _Stay) -> None:
        self._stay = stay
        stay.lost = weakly(self.suspend)
        self._end = at_end(self, stay.leave)

    @property
    def estate(self) -> Estate:
        """What is owned."""
        return self._stay.places.estate

    @property
    def guard(self) -> Guarded:
        """The owner that this process is."""
        return self._stay

    def obtain(self) -> Any:
        """The object, to be read; others in this process may share it."""
        self._stay.hold()
        return self.estate.factory.resolve()

    def drop(self) -> None:
        """Be an owner no more."""
        with self.guard.lock:
            self.suspend()
            self._end()

    def travel(self) -> tuple[Any, ...]:
        """The pickle of another owner, which has a place of its own until that arrives."""
        self._stay.hold()
        estate, places = self.estate, self._stay.places
        place = places.take(self._stay.given)
        places.renew_object()
        return _share, (estate.plain, estate.name, place, places.seconds)


# Any in this module: targets of any type, stores with whatever connectors.
def share(store: Store[Any], obj: T, *, lease: float = 60.0, **options: Any) -> SharedProxy[T]:
    """Store ``obj``, and give one of many proxies that own it together.

    Every process that opens a pickle of one is an owner too. The object is removed when
    the last owner is: by `drop`, when its proxy is deleted, or when its interpreter exits. Who
    is killed is an owner for ``lease`` seconds more; and so is a pickle that nobody opens. The
    object must not be changed. A pickle costs three requests, to open it five.

    Thread safe. A forked child can use what it has resolved.

    Args:
        store: Its connector must be deferrable and leasable.
        obj: Anything but `None` and `bool`.
        lease: Seconds. A process that stands still for longer is an owner no more.
        options: As for `Store.proxy`, but those that end the object.

    Raises:
        ValueError: An option would end the object, or ``lease`` is not greater than 0.
        TypeError: ``lease`` is no number.
        NonProxiableTypeError: ``obj`` is `None` or a `bool`.
        SerializationError: Nothing can serialize the object.
        CapabilityError: The connector is not deferrable or not leasable.
        MediumFullError: There is no room. Nothing was stored.
    """
    check_options("share()", options)
    checked_seconds("share(lease=)", lease)
    require(store, "share()", Capability.DEFERRABLE, Capability.LEASABLE)
    proxy = store.proxy(obj, ttl=lease, inline=False, **options)
    places = _Places(Estate(copy.copy(proxy), fresh_id(), None, lease))
    stay = _Stay(places, _FIRST)
    stay.begin(places.take(_FIRST - 1))
    return make(
        SharedProxy, SharedFactory(stay), proxy, extract(proxy) if is_resolved(proxy) else None
    )


def _share(plain: Proxy[Any], name: str, place: int, lease: float) -> SharedProxy[Any]:
    stay = _Stay(_Places(Estate(plain, name, None, lease)), place)
    proxy = make(SharedProxy, SharedFactory(stay), plain)
    # Now, for the place of the pickle does not last. What goes wrong is told at the first use,
    # for an error in here would end the worker of a process pool.
    with contextlib.suppress(ProxyStoreError):
        stay.hold()
    return proxy


def _gone() -> ReferenceInvalidError:
    return ReferenceInvalidError(
        _WHAT,
        "all other owners had gone before its pickle was opened, and the object with them",
        "Keep an owner until the others have arrived, or share() with a longer lease.",
    )


def _left() -> ReferenceInvalidError:
    return ReferenceInvalidError(
        _WHAT, "it was dropped here", "Keep the proxy for as long as it is used."
    )


name_in_pickles(_share)
