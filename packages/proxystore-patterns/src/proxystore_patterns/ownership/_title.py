"""What the process of an owner knows of the object: who borrowed it, and what it must wait for."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from proxystore.abc import Capability
from proxystore.errors import ClosedError, MediumGoneError, ProxyStoreError
from proxystore_patterns.errors import (
    BaseRefProxyError,
    MutableBorrowError,
    ReferenceInvalidError,
    StillBorrowedError,
)
from proxystore_patterns.lifetimes._ledger import LEDGER, Entry
from proxystore_patterns.lifetimes._renewal import Renewal
from proxystore_patterns.ownership._claims import (
    PHASE,
    Claim,
    State,
    forked,
    phase_record,
    writer_record,
)
from proxystore_patterns.ownership._estate import Estate
from proxystore_patterns.ownership._guard import Guarded
from proxystore_patterns.ownership._kinds import Bound
from proxystore_patterns.ownership._readers import find_reader
from proxystore_patterns.ownership._records import Records, require

__all__ = ["NOTHING", "Title"]

NOTHING: Any = object()
"""Stands for a target that is not here; `None` may be one that is."""

_NOTED_AS = "an owner"
_TO_LEND = (Capability.DEFERRABLE, Capability.LEASABLE)


class Title(Guarded):
    """The books of an owner. Thread safe.

    Args:
        estate: What is owned.
        claim: To it.
    """

    def __init__(self, estate: Estate, claim: Claim) -> None:
        super().__init__()
        self.estate, self.claim = estate, claim
        self.target: Any = NOTHING
        """The target, while it is in no proxy of the owner."""
        self.readers: dict[object, weakref.ref[Bound]] = {}
        """The factories of borrows whose proxies are in this process."""
        self.travelled: set[int] = set()
        """Tickets of borrows that were pickled in this phase, and may be open elsewhere."""
        self.writer: Claim | None = None
        """The mutable borrow, if there is one."""
        self.writer_here: weakref.ref[Bound] | None = None
        """Its factory, if its proxy is in this process."""
        self._writer_is_over = False
        self._n_tickets = 0
        self._lease: Renewal | None = None
        self._entry: Entry | None = None
        self._secure()

    # --- Use ----------------------------------------------------------------------

    def use(self, asked: str = "use it") -> None:
        """Be the owner, with no writer beside it.

        Raises:
            MutableBorrowError: There is a writer.
            ReferenceInvalidError: There is nothing to own any more, or not here.
        """
        self.claim.hold()
        self._secure()
        self._end_writer(asked)

    def take_target(self) -> Any:
        """The object, for who may change it."""
        target, self.target = self.target, NOTHING
        return self.estate.load() if target is NOTHING else target

    def be_alone(self, error: Callable[[str, str], BaseRefProxyError], asked: str) -> None:
        """Be the owner, with nobody beside it. Ends the borrows that nobody opened yet.

        Args:
            error: Made of what was asked and who has the object.
            asked: What for, as in ``"drop it"``.

        Raises:
            BaseRefProxyError: What ``error`` made: somebody has the object.
            ReferenceInvalidError: There is nothing to own any more, or not here.
        """
        try:
            self.use(asked)
        except MutableBorrowError as found:
            raise error(asked, found.found) from None
        _end_with_tasks(self.readers.values())
        if self.readers:
            raise error(asked, f"{len(self.readers)} RefProxy of it in this process")
        if self.travelled and (reader := self._end_phase()):
            raise error(asked, f"{reader} reads it")

    def new_ticket(self) -> int:
        """The number of a borrow that is about to be pickled."""
        if not self.claim.is_here:
            raise forked("RefProxy")
        require(self.estate.store, "Pickling a borrow", *_TO_LEND)
        with self.lock:
            self._n_tickets += 1
            self.travelled.add(self._n_tickets)
            return self._n_tickets

    def begin_writing(self) -> Claim:
        """The claim of a mutable borrow.

        Raises:
            MutableBorrowError: Somebody has borrowed the object.
            ReferenceInvalidError: There is nothing to own any more, or not here.
        """
        self.be_alone(MutableBorrowError, "borrow it mutably")
        self.writer = Claim("RefMutProxy", self.estate, self.claim.phase)
        self._writer_is_over = False
        return self.writer

    def stop_writing(self, writer: Claim, *, is_over: bool = False) -> None:
        """The proxy of a mutable borrow is gone.

        Args:
            writer: Its claim.
            is_over: Its task has ended, so whoever opened a pickle of it has it no more.
        """
        if self.writer is writer:
            self.writer_here, self._writer_is_over = None, is_over

    # --- The end ------------------------------------------------------------------

    def abandon(self) -> None:
        """What remains to do once no proxy of the owner, nor any borrowed here, is left."""
        if not self.claim.is_here:
            return
        # Nobody could be told of an error. What stays is found as a leak once this process ended.
        with self.lock, contextlib.suppress(ProxyStoreError):
            with contextlib.suppress(ClosedError, MediumGoneError):
                # Else: nothing remains to be done there.
                self._abandon()
            self._let_go()

    def _abandon(self) -> None:
        self._end_lease()
        if self.claim.state in {State.OFFERED, State.ENDED}:
            # The bytes have it.
            return
        try:
            self.be_alone(StillBorrowedError, "drop it")
        except StillBorrowedError:
            # They got it in time if they get it within the time that they were promised.
            self._leave(self.estate.borrow_lease)
        else:
            self.remove()

    def remove(self) -> None:
        """Remove the object and its records; the claim ends. The owner is alone."""
        self._end_lease()
        estate = self.estate
        # The object first: who claims by a record that is gone must find no object either.
        estate.store.evict(estate.key)
        if self.claim.phase:
            records = self.claim.records
            # The last first, so that what is left by a death in between is found from 0 on.
            for phase in reversed(range(self.claim.phase)):
                records.remove(phase_record(phase))
        self._let_go()
        self.claim.end(_dropped())

    def _leave(self, seconds: float) -> None:
        self.estate.store.touch(self.estate.key, seconds)
        records = self.claim.records
        for phase in range(self.claim.phase):
            records.touch(phase_record(phase), seconds)
        self.claim.end(_dropped())

    # --- Others -------------------------------------------------------------------

    def _end_writer(self, asked: str) -> None:
        writer = self.writer
        if writer is None:
            return
        # Once: a garbage collection in another thread may end it in between.
        here = self.writer_here
        if here is not None:
            _end_with_tasks([here])
        if self.writer_here is not None:
            raise MutableBorrowError(asked, "a RefMutProxy of it in this process writes it")
        if writer.state is not State.HELD:
            self._recall(writer, asked)
            self.target = NOTHING
        self.claim.phase, self.writer = writer.phase, None

    def _recall(self, writer: Claim, asked: str) -> None:
        records = writer.records
        while not records.set(phase_record(writer.phase)):
            # Somebody opened it, and may have passed it on.
            found = records.maker(writer_record(writer.phase))
            if found is not None and not self._writer_is_over:
                raise MutableBorrowError(asked, f"{found} writes it")
            # Without a lease it can write no more, should it still be there.
            records.remove(writer_record(writer.phase))
            writer.phase += 1
        writer.phase += 1

    def _end_phase(self) -> str | None:
        """End the borrows that travelled; or else say who has one."""
        records, phase = self.claim.records, self.claim.phase
        reader = self._find_reader(records, phase)
        if reader is not None:
            return reader
        self.claim.renew()
        # Looked for again: who opened one in between made a lease first, and looked for the
        # end of the phase after that.
        reader = self._find_reader(records, phase)
        if reader is not None:
            records.remove(phase_record(phase))
            self.claim.phase = phase
            return reader
        self.travelled.clear()
        return None

    def _find_reader(self, records: Records, phase: int) -> str | None:
        found = (find_reader(records, phase, ticket) for ticket in self.travelled)
        return next(filter(None, found), None)

    def offer(self) -> int:
        """As that of the claim. Whoever has the bytes sees to it that the object ends."""
        phase = self.claim.offer()
        self._let_go()
        return phase

    def _secure(self) -> None:
        """See to it that the object ends, or is found, should this process be killed."""
        if self.claim.state is not State.HELD:
            return
        estate, seconds, phase = self.estate, self.estate.lease, self.claim.phase
        # The medium ends the object, and no records, of which there is one for each phase.
        if self._entry is None and (seconds is None or phase):
            series = self.claim.records.id_of(PHASE)
            self._entry = LEDGER.note(_NOTED_AS, estate.store, [estate.key], series=series)
        if seconds is not None and self._lease is None:
            if phase:
                # What another owner left of the lease may be little.
                estate.store.touch(estate.key, seconds)
            self._lease = Renewal(seconds, self._renew, lane=estate.store)

    def _end_lease(self) -> None:
        if self._lease is not None:
            self._lease.end()
            self._lease = None

    def _let_go(self) -> None:
        if self._entry is not None:
            LEDGER.erase([self._entry])
            self._entry = None

    def _renew(self) -> bool:
        claim = self.claim
        if claim.state is State.ENDED:
            return False
        # Whoever opened the bytes renews it by now.
        if claim.state is State.OFFERED and claim.records.exists(phase_record(claim.phase)):
            return False
        return self.estate.store.touch(self.estate.key, self.estate.lease)


def _end_with_tasks(borrows: Iterable[weakref.ref[Bound]]) -> None:
    # A task is over a moment before its future calls back.
    for borrow in list(borrows):
        factory = borrow()
        if factory is not None and factory.is_over is not None and factory.is_over():
            factory.finish()


def _dropped() -> ReferenceInvalidError:
    return ReferenceInvalidError(
        "OwnedProxy",
        "its object was dropped",
        "Drop an object after its last use, or own() it again.",
    )
