"""The right to an object that one process has at a time.

It goes through phases, numbered. A phase ends by a record that is set once: by who opens the
bytes that were pickled in it, or by who pickled and wants the right back. Whoever sets it
has the next phase, and all other bytes of the phase are void.
"""

from __future__ import annotations

import copy
import enum
import os
from collections.abc import Callable

from proxystore.abc import Capability
from proxystore_patterns.errors import (
    BaseRefProxyError,
    ReferenceInvalidError,
    ReferenceMovedError,
)
from proxystore_patterns.lifetimes._renewal import Renewal
from proxystore_patterns.ownership._estate import Estate
from proxystore_patterns.ownership._guard import Guarded
from proxystore_patterns.ownership._records import Records, require

__all__ = [
    "PHASE",
    "Claim",
    "LeasedClaim",
    "State",
    "expired",
    "forked",
    "gone",
    "phase_record",
    "writer_record",
]


class State(enum.Enum):
    """Where a claim is."""

    HELD = enum.auto()
    """Here."""
    OFFERED = enum.auto()
    """Here, and in bytes that were pickled here."""
    ARRIVED = enum.auto()
    """In bytes that were opened here; not taken yet."""
    ENDED = enum.auto()
    """Elsewhere, or nowhere."""


PHASE = "p"
"""The records that end phases, but for the number of the phase."""


def phase_record(phase: int) -> str:
    """The record that ends a phase."""
    return f"{PHASE}{phase}"


def writer_record(phase: int) -> str:
    """The lease of who opened the bytes of a mutable borrow of this phase."""
    return f"w{phase}"


def forked(what: str) -> ReferenceInvalidError:
    """Says that only the process that forked has the claim."""
    return ReferenceInvalidError(
        what,
        "this process was forked from the one that has it",
        "Pass the proxy to the child by pickle, or borrow() it for the child first.",
    )


class Claim:
    """A right that this process has, may have had, or may take.

    Whoever uses it holds the lock of the books that it belongs to.

    Args:
        what: The kind of proxy, for messages.
        estate: What it is a right to.
        phase: That it is in.
        state: Where it is.
    """

    def __init__(
        self, what: str, estate: Estate, phase: int = 0, state: State = State.HELD
    ) -> None:
        self.what, self.phase, self.state = what, phase, state
        self._estate = estate
        self._pid = os.getpid()
        self._error: BaseRefProxyError | None = None

    @property
    def records(self) -> Records:
        """The records of the object."""
        return self._estate.records()

    @property
    def is_here(self) -> bool:
        """Whether this is the process that has the claim, not a fork of it."""
        return self._pid == os.getpid()

    def hold(self) -> None:
        """Take the right, unless it is here.

        Raises:
            ReferenceMovedError: Somebody else took it.
            ReferenceInvalidError: It ended, or belongs to the process that this one is a fork of.
        """
        if not self.is_here:
            raise forked(self.what)
        if self.state is State.HELD:
            return
        if self._error is not None:
            raise copy.copy(self._error)
        if not self._take():
            holder = self.records.maker(phase_record(self.phase))
            raise self.end(ReferenceMovedError(self.what, holder or "another process"))
        if not self._estate.is_there():
            # Whoever dropped it removed the records too, so this one could be made again.
            self.give_back()
            self.records.remove(phase_record(self.phase))
            raise self.end(gone(self.what))
        self.phase, self.state = self.phase + 1, State.HELD

    def offer(self) -> int:
        """Let whoever opens the bytes take the right. Gives the phase to write into them.

        Raises:
            CapabilityError: The medium cannot pass it on.
        """
        if self.state is not State.OFFERED:
            self.hold()
            # The sender is told, for the receiver could do nothing about it.
            require(self.records.store, f"Pickling {self.what}", Capability.DEFERRABLE)
            self.state = State.OFFERED
        return self.phase

    def give_back(self) -> None:
        """Nothing is left to do in the medium once the right is not used any more."""

    def renew(self) -> None:
        """End the phase, and with it what was pickled in it, and begin the next."""
        self.hold()
        self.state = State.OFFERED
        self.hold()

    def end(self, error: BaseRefProxyError) -> BaseRefProxyError:
        """The right is not here any more, and ``error``, a copy of which is returned, says why."""
        self.state, self._error = State.ENDED, error
        # What is raised keeps the frames that it went through, and so the proxies in them.
        return copy.copy(error)

    def _take(self) -> bool:
        return self.records.set(phase_record(self.phase))


class LeasedClaim(Claim, Guarded):
    """A right that was lent: it is over when this process says so, or does not live any more.

    The books of its object are elsewhere, so it has a lock of its own.

    Args:
        what: The kind of proxy, for messages.
        estate: As for `Claim`.
        phase: That the bytes were pickled in.
    """

    def __init__(self, what: str, estate: Estate, phase: int) -> None:
        Guarded.__init__(self)
        Claim.__init__(self, what, estate, phase, State.ARRIVED)
        self.lost: Callable[[], None] | None = None
        """Called from another thread if the lease could not be renewed in time."""
        self._seconds = estate.borrow_lease
        self._lease: Renewal | None = None
        self._record = ""

    def _take(self) -> bool:
        # The lease first: a claim without one counts as returned.
        records, record = self.records, writer_record(self.phase)
        if not records.set(record, self._seconds):
            return False
        if not super()._take():
            records.remove(record)
            return False
        self.give_back()
        self._record = record
        self._lease = Renewal(self._seconds, self._renew, lane=records.store, lost=self._expire)
        return True

    def require_alive(self) -> None:
        """See that the lease is alive, and for all of its seconds from now on.

        Raises:
            ReferenceInvalidError: It is not.
        """
        if not self._renew():
            raise self.end(expired(self.what, self._seconds))

    def _renew(self) -> bool:
        return self.records.touch(self._record, self._seconds)

    def give_back(self) -> None:
        """The borrow is over. Does nothing if it was not taken here."""
        if self._lease is not None and self.is_here:
            self._lease.end()
            self._lease = None
            self.records.remove(self._record)

    def _expire(self) -> None:
        self.end(expired(self.what, self._seconds))
        if self.lost is not None:
            self.lost()


def gone(what: str) -> ReferenceInvalidError:
    """Says that there is no object any more."""
    return ReferenceInvalidError(
        what,
        "its object is gone: dropped elsewhere, or its lease ended, or its store was closed",
        "Keep the owner of the object, and the store, until all others have used it.",
    )


def expired(what: str, seconds: float) -> ReferenceInvalidError:
    """Says that a lease was not renewed in time."""
    return ReferenceInvalidError(
        what,
        f"its lease of {seconds:g} s ended, for this process or its medium stood still that long",
        "Have the task run again, with a longer borrow_lease in own().",
    )
