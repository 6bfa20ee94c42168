"""References to what another proxy owns: made, sent and received."""

from __future__ import annotations

import contextlib
import copy
import weakref
from typing import Any

from proxystore.abc import Capability
from proxystore.errors import ProxyStoreError
from proxystore.proxy import Proxy
from proxystore.store.types import SerializerT
from proxystore_patterns.errors import BaseRefProxyError, ReferenceInvalidError
from proxystore_patterns.lifetimes._ends import at_end
from proxystore_patterns.ownership._claims import Claim, LeasedClaim
from proxystore_patterns.ownership._estate import Estate
from proxystore_patterns.ownership._guard import Guarded
from proxystore_patterns.ownership._kinds import (
    Bound,
    RefMutProxy,
    RefProxy,
    make,
    name_in_pickles,
    weakly,
)
from proxystore_patterns.ownership._owned import OwnedFactory
from proxystore_patterns.ownership._readers import OpenTicket
from proxystore_patterns.ownership._records import require
from proxystore_patterns.ownership._title import NOTHING

__all__ = ["RefFactory", "RefMutFactory", "lend", "lend_again", "lend_mutably"]


class RefFactory(Bound):
    """The factory of a `RefProxy`.

    Args:
        estate: What was borrowed.
        source: The owner, if that is in this process; or the opened ticket, which the last of
            its factories gives back.
    """

    def __init__(self, estate: Estate, source: OwnedFactory | OpenTicket) -> None:
        self._estate, self.source = estate, source
        self._tickets: set[int] = set()
        self._error: BaseRefProxyError | None = None
        me, here = object(), weakref.ref[Bound](self)
        if isinstance(source, OwnedFactory):
            source.title.readers[me] = here
            self._end = at_end(self, source.title.readers.pop, me, None)
        else:
            source.users[me] = here
            self._end = at_end(self, _leave, source, me)

    @property
    def estate(self) -> Estate:
        """What was borrowed."""
        return self._estate

    @property
    def guard(self) -> Guarded:
        """The books of the owner, if that is in this process, or else the ticket."""
        return self.source.title if isinstance(self.source, OwnedFactory) else self.source

    def obtain(self) -> Any:
        """The object, to be read; others in this process may share it."""
        self.hold()
        return self.estate.factory.resolve()

    def hold(self) -> None:
        """Be one of the readers.

        Raises:
            ReferenceInvalidError: The borrow is over.
        """
        if self._error is not None:
            raise copy.copy(self._error)
        if not isinstance(self.source, OwnedFactory):
            self.source.hold()

    def drop(self) -> None:
        """End the borrow here."""
        with self.guard.lock:
            self.suspend()
            self._error = _ended("RefProxy")
            self._end()

    def finish(self) -> None:
        """End the borrow, and those of its pickles."""
        # As the owner may be looking at the tickets in another thread.
        with self.guard.lock:
            self.drop()
            if isinstance(self.source, OwnedFactory):
                self.source.title.travelled -= self._tickets

    def travel(self) -> tuple[Any, ...]:
        """The pickle of a borrow, which may be opened more than once. This one remains."""
        estate = self.estate
        return _ref, (estate.plain, estate.name, *self.ticket(), estate.borrow_lease)

    def ticket(self) -> tuple[int, int]:
        """Phase and number of a borrow that is about to be pickled."""
        if self._error is not None:
            raise copy.copy(self._error)
        if isinstance(self.source, OpenTicket):
            return self.source.phase, self.source.ticket
        title = self.source.title
        ticket = title.new_ticket()
        self._tickets.add(ticket)
        return title.claim.phase, ticket


class RefMutFactory(Bound):
    """The factory of a `RefMutProxy`. Thread safe.

    Args:
        estate: What was borrowed.
        claim: Of the borrow.
        owner: If it is in this process.
    """

    def __init__(self, estate: Estate, claim: Claim, owner: OwnedFactory | None = None) -> None:
        self._estate, self.claim, self.owner = estate, claim, owner
        self._error: BaseRefProxyError | None = None
        self._target: Any = NOTHING
        if isinstance(claim, LeasedClaim):
            claim.lost = weakly(self.suspend)
            self._end = at_end(self, _give_back, claim)
        elif owner is not None:
            owner.title.writer_here = weakref.ref(self)
            self._end = at_end(self, owner.title.stop_writing, claim)

    @property
    def estate(self) -> Estate:
        """What was borrowed."""
        return self._estate

    @property
    def guard(self) -> Guarded:
        """The books of the owner, if that is in this process, or else the claim."""
        if self.owner is not None:
            return self.owner.title
        assert isinstance(self.claim, LeasedClaim)
        return self.claim

    def obtain(self) -> Any:
        """The object, to be changed; takes the borrow back if it was pickled."""
        self.hold()
        if self._kept() is NOTHING:
            self._keep(self.estate.load())
        return self._kept()

    def hold(self) -> None:
        """Be the writer.

        Raises:
            ReferenceMovedError: Somebody else is.
            ReferenceInvalidError: The borrow is over.
        """
        if self._error is not None:
            raise copy.copy(self._error)
        self.claim.hold()

    def drop(self) -> None:
        """End the borrow here."""
        with self.guard.lock:
            self._free()
            self._error = _ended("RefMutProxy")
            self._end()

    def finish(self) -> None:
        """End the borrow, and that of its pickle."""
        with self.guard.lock:
            self.drop()
            if self.owner is not None:
                self.owner.title.stop_writing(self.claim, is_over=True)

    def update(self, serializer: SerializerT | None) -> None:
        """Store the target, for the owner and all who borrow next.

        Raises:
            ReferenceInvalidError: The borrow is over.
        """
        with self.guard.lock:
            self.hold()
            target = self.peek()
            if target is not None:
                self._keep(target)
            if isinstance(self.claim, LeasedClaim):
                self.claim.require_alive()
            if self._kept() is not NOTHING:
                self.estate.replace(self._kept(), serializer)

    def travel(self) -> tuple[Any, ...]:
        """The pickle of the borrow, which whoever opens it first takes it with."""
        estate = self.estate
        require(estate.store, "Pickling a borrow", Capability.LEASABLE)
        with self.guard.lock:
            if self._error is not None:
                raise copy.copy(self._error)
            self._free()
            phase = self.claim.offer()
        return _mut, (estate.plain, estate.name, phase, estate.borrow_lease)

    # With the owner in this process, both have the same target.
    def _kept(self) -> Any:
        return self._target if self.owner is None else self.owner.title.target

    def _keep(self, target: Any) -> None:
        if self.owner is None:
            self._target = target
        else:
            self.owner.title.target = target

    def _free(self) -> None:
        """Take the target from the proxy, which asks for it at its next use."""
        target = self.suspend()
        if target is not self:
            self._keep(target)


# Any in this module: targets of any type.
def lend(owner: OwnedFactory, *, populate: bool) -> RefProxy[Any]:
    """A reader beside the owner. See `borrow`."""
    title = owner.title
    with title.lock:
        title.use("borrow it")
        factory = RefFactory(title.estate, owner)
        target = owner.peek()
        if target is None and title.target is not NOTHING:
            target = title.target
        return make(RefProxy, factory, title.estate.plain, target if populate else None)


def lend_again(reader: RefFactory, *, populate: bool) -> RefProxy[Any]:
    """A reader beside another one, in the process of that one."""
    reader.hold()
    factory = RefFactory(reader.estate, reader.source)
    return make(RefProxy, factory, reader.estate.plain, reader.peek() if populate else None)


def lend_mutably(owner: OwnedFactory, *, populate: bool) -> RefMutProxy[Any]:
    """The writer, beside which the owner cannot be used. See `mut_borrow`."""
    title = owner.title
    with title.lock:
        claim = title.begin_writing()
        factory = RefMutFactory(title.estate, claim, owner)
        owner.free()
        target = title.target if populate and title.target is not NOTHING else None
        return make(RefMutProxy, factory, title.estate.plain, target)


def _ref(
    plain: Proxy[Any], name: str, phase: int, ticket: int, borrow_lease: float
) -> RefProxy[Any]:
    estate = Estate(plain, name, None, borrow_lease)
    factory = RefFactory(estate, OpenTicket(estate, phase, ticket))
    proxy = make(RefProxy, factory, plain)
    # Now, so that the owner knows of it before the first use. What goes wrong is told at that
    # use, for an error in here would end the worker of a process pool.
    with contextlib.suppress(ProxyStoreError):
        factory.hold()
    return proxy


def _mut(plain: Proxy[Any], name: str, phase: int, borrow_lease: float) -> RefMutProxy[Any]:
    estate = Estate(plain, name, None, borrow_lease)
    claim = LeasedClaim("RefMutProxy", estate, phase)
    factory = RefMutFactory(estate, claim)
    proxy = make(RefMutProxy, factory, plain)
    # As above.
    with contextlib.suppress(ProxyStoreError):
        factory.hold()
    return proxy


def _leave(opened: OpenTicket, user: object) -> None:
    opened.users.pop(user, None)
    if not opened.users:
        _give_back(opened)


def _give_back(opened: OpenTicket | LeasedClaim) -> None:
    # Of a store that is closed, or a medium that is gone: its lease ends by itself.
    with contextlib.suppress(ProxyStoreError):
        opened.give_back()


def _ended(what: str) -> ReferenceInvalidError:
    return ReferenceInvalidError(
        what, "the borrow has ended", "Borrow the object again from its owner."
    )


name_in_pickles(_ref)
name_in_pickles(_mut)
