"""Borrows for reading that were pickled, as their owner and those who open them see them.

A ticket is a pickled borrow. It may be opened many times: each opening takes a place of the
ticket by a lease there, and so may take one that was left. That places after the first were taken
is recorded as well, so that the owner knows how many to look at; whoever has a later place
keeps the records of those before it.
"""

from __future__ import annotations

import copy
import os
import weakref

from proxystore_patterns.errors import BaseRefProxyError, ReferenceInvalidError
from proxystore_patterns.lifetimes._renewal import Renewal
from proxystore_patterns.ownership._claims import expired, forked, phase_record
from proxystore_patterns.ownership._estate import Estate
from proxystore_patterns.ownership._guard import Guarded
from proxystore_patterns.ownership._kinds import Bound
from proxystore_patterns.ownership._records import Records

__all__ = ["OpenTicket", "find_reader"]

_WHAT = "RefProxy"


def _place(phase: int, ticket: int, place: int) -> str:
    return f"r{phase}-{ticket}-{place}"


def _taken(phase: int, ticket: int, place: int) -> str:
    return f"t{phase}-{ticket}-{place}"


def find_reader(records: Records, phase: int, ticket: int) -> str | None:
    """Who has opened a ticket and not returned it, if anybody."""
    place = 0
    while True:
        reader = records.maker(_place(phase, ticket, place))
        if reader is not None:
            return reader
        place += 1
        if not records.exists(_taken(phase, ticket, place)):
            return None


class OpenTicket(Guarded):
    """A borrow in the process that opened its bytes. Thread safe.

    Args:
        estate: What was borrowed.
        phase: In which it was pickled.
        ticket: Its number in that phase.
    """

    def __init__(self, estate: Estate, phase: int, ticket: int) -> None:
        super().__init__()
        self.phase, self.ticket = phase, ticket
        self.users: dict[object, weakref.ref[Bound]] = {}
        """The factories of the proxies that read by this ticket."""
        self._estate, self._seconds = estate, estate.borrow_lease
        self._pid = os.getpid()
        self._lease: Renewal | None = None
        self._record = ""
        self._error: BaseRefProxyError | None = None

    def hold(self) -> None:
        """Be one of the readers.

        Raises:
            ReferenceInvalidError: The borrow is over.
        """
        with self.lock:
            self._hold()

    def _hold(self) -> None:
        if self._error is not None:
            raise copy.copy(self._error)
        if self._lease is not None:
            # A forked child may read what it has, but would not be known to read.
            if self._pid != os.getpid():
                raise forked(_WHAT)
            return
        records = self._estate.records()
        place = self._take_place(records)
        record = _place(self.phase, self.ticket, place)
        # After the lease is there, for the owner looks for it after ending the phase.
        if records.exists(phase_record(self.phase)):
            records.remove(record)
            raise _over()
        self._record, self._pid = record, os.getpid()
        self._lease = Renewal(
            self._seconds,
            lambda: self._renew(records, place),
            lane=records.store,
            lost=self._expire,
        )

    def give_back(self) -> None:
        """The borrow is over. Does nothing if it was not opened here."""
        if self._lease is not None and self._pid == os.getpid():
            self._lease.end()
            self._estate.records().remove(self._record)
            self._lease = None

    def _take_place(self, records: Records) -> int:
        place = 0
        while not records.set(_place(self.phase, self.ticket, place), self._seconds):
            place += 1
            self._record_taken(records, place)
        return place

    def _record_taken(self, records: Records, place: int) -> None:
        record = _taken(self.phase, self.ticket, place)
        if not records.touch(record, self._seconds):
            records.set(record, self._seconds)

    def _renew(self, records: Records, place: int) -> bool:
        for each in range(1, place + 1):
            self._record_taken(records, each)
        return records.touch(self._record, self._seconds)

    def _expire(self) -> None:
        self._error = expired(_WHAT, self._seconds)
        for user in list(self.users.values()):
            factory = user()
            if factory is not None:
                factory.suspend()


def _over() -> ReferenceInvalidError:
    return ReferenceInvalidError(
        _WHAT,
        "the borrow was over before its pickle was opened, or the object was moved or dropped",
        "Keep the RefProxy until its task has ended, as submit() does.",
    )
