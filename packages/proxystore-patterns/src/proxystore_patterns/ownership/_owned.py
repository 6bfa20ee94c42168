"""Owners: made, sent and received."""

from __future__ import annotations

import contextlib
from typing import Any

from proxystore.errors import ProxyStoreError
from proxystore.proxy import Proxy
from proxystore.store.types import SerializerT
from proxystore_patterns.errors import MutableBorrowError, StillBorrowedError
from proxystore_patterns.lifetimes._ends import at_end
from proxystore_patterns.ownership._claims import Claim, State, forked
from proxystore_patterns.ownership._estate import Estate
from proxystore_patterns.ownership._guard import Guarded
from proxystore_patterns.ownership._kinds import Bound, OwnedProxy, make, name_in_pickles
from proxystore_patterns.ownership._title import NOTHING, Title

__all__ = ["OwnedFactory", "first_owner"]

_WHAT = "OwnedProxy"


class OwnedFactory(Bound):
    """The factory of an `OwnedProxy`; while it lives, the object is owned here."""

    def __init__(self, title: Title) -> None:
        self.title = title
        # Also at the exit of the interpreter. Not by __del__: borrows made here keep this
        # factory, so the object goes with the last of them.
        at_end(self, title.abandon)

    @property
    def estate(self) -> Estate:
        """What is owned."""
        return self.title.estate

    @property
    def guard(self) -> Guarded:
        """The books of the owner."""
        return self.title

    def obtain(self) -> Any:
        """The object; takes the ownership back if it was pickled."""
        title = self.title
        if title.claim.is_here:
            title.use()
            return title.take_target()
        # A fork may read what its parent has, as long as that is there.
        if title.claim.state is not State.HELD:
            raise forked(_WHAT)
        return self.estate.load()

    def free(self) -> None:
        """Take the target from the proxy, which asks for it at its next use."""
        target = self.suspend()
        if target is not self:
            self.title.target = target

    def drop(self) -> None:
        """Remove the object.

        Raises:
            StillBorrowedError: Somebody has borrowed it.
            ReferenceInvalidError: There is nothing to own any more, or not here.
        """
        with self.title.lock:
            self.title.be_alone(StillBorrowedError, "drop it")
            self.suspend()
            self.title.target = NOTHING
            self.title.remove()

    def update(self, serializer: SerializerT | None) -> None:
        """Store the target, for all who borrow it from now on.

        Raises:
            MutableBorrowError: Somebody has borrowed it.
            ReferenceInvalidError: There is nothing to own any more, or not here.
        """
        title = self.title
        with title.lock:
            title.be_alone(MutableBorrowError, "update it")
            target = self.peek()
            if target is None:
                target = title.target
            if target is not NOTHING:
                title.estate.replace(target, serializer)

    def travel(self) -> tuple[Any, ...]:
        """The pickle of the owner, which whoever opens it first takes the object with.

        Raises:
            StillBorrowedError: Somebody has borrowed it.
            CapabilityError: The medium cannot pass it on.
        """
        title, estate = self.title, self.estate
        with title.lock:
            if title.claim.state is not State.OFFERED:
                title.be_alone(StillBorrowedError, "move it")
                self.free()
            phase = title.offer()
        return _own, (estate.plain, estate.name, phase, estate.lease, estate.borrow_lease)


# Any in this module: targets of any type.
def first_owner(estate: Estate, target: Any = None) -> OwnedProxy[Any]:
    """The proxy of the first owner of an object; resolved, if its target is given."""
    factory = OwnedFactory(Title(estate, Claim(_WHAT, estate)))
    return make(OwnedProxy, factory, estate.plain, target)


def _own(
    plain: Proxy[Any], name: str, phase: int, lease: float | None, borrow_lease: float
) -> OwnedProxy[Any]:
    estate = Estate(plain, name, lease, borrow_lease)
    claim = Claim(_WHAT, estate, phase, State.ARRIVED)
    title = Title(estate, claim)
    proxy = make(OwnedProxy, OwnedFactory(title), plain)
    # Now and not at the first use: who opens the bytes owns the object, and lets it go even
    # if it is never used. What goes wrong is told at that use, for an error in here would end
    # the worker of a process pool.
    with contextlib.suppress(ProxyStoreError):
        title.use()
    return proxy


name_in_pickles(_own)
