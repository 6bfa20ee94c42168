"""The model: what a medium may hold, given what workers were told and what they acknowledged."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from worker import Answer, Failure, Op, Request

from proxystore.abc import Key

__all__ = ["Belief", "Entry", "Ledger", "Pending"]

_FEWEST, _MOST = 60, 240
_READS = (Op.GET, Op.HOLD, Op.SCRIBBLE)


@dataclass
class Belief:
    """What a reader of one key may find."""

    tokens: set[int | None]
    alive_until: float = math.inf
    """Seconds since the epoch before which it cannot have expired."""
    gone_after: float = math.inf
    """Seconds since the epoch after which it must have expired."""

    def admits(self, token: int | None, asked: float, answered: float) -> bool:
        """Whether a read between ``asked`` and ``answered`` may have found ``token``."""
        if token is None:
            return None in self.tokens or answered >= self.alive_until
        return token in self.tokens and asked <= self.gone_after

    def widen(self, other: Belief) -> None:
        """Allow what ``other`` allows too."""
        self.tokens |= other.tokens
        self.alive_until = min(self.alive_until, other.alive_until)
        self.gone_after = max(self.gone_after, other.gone_after)


@dataclass
class Entry:
    """One key that somebody was told of."""

    belief: Belief
    changing: bool = False
    readers: list[Belief] = field(default_factory=list)

    def widen(self, other: Belief) -> None:
        """A change is under way: it and reads under way may find before or after."""
        self.belief.widen(other)
        for reader in self.readers:
            reader.widen(other)


@dataclass
class Pending:
    """A request that was not answered yet."""

    request: Request
    asked: float
    seen: Belief
    """For reads: what it may find, whatever changes until it is answered."""


class Ledger:
    """Chooses requests for one medium, and judges their answers.

    At most one change of a key is under way at a time; reads go beside it.

    Args:
        medium: Its number.
        new_key: Makes a key of an identifier.
        rng: Chooses.
    """

    def __init__(self, medium: int, new_key: Callable[[str], Key], rng: random.Random) -> None:
        self.entries: dict[Key, Entry] = {}
        self.unanswered: set[int] = set()
        """Tokens of puts whose writer was killed: nobody knows the key, if there is one."""
        self._medium, self._new_key = medium, new_key
        self._rng = rng

    def choose(self) -> Request:
        """Something to do next."""
        keys = list(self.entries)
        idle = [key for key in keys if not self.entries[key].changing]
        rng = self._rng
        if not idle or len(self.entries) < _FEWEST:
            return self._create()
        if len(self.entries) > _MOST:
            return Request(Op.EVICT, self._medium, rng.choice(idle))
        (op,) = rng.choices(
            (Op.PUT, *_READS, Op.REPLACE, Op.TOUCH, Op.EVICT), (18, 30, 10, 8, 14, 8, 12)
        )
        if op is Op.PUT:
            return self._create()
        ttl = rng.choice((None, rng.uniform(0.2, 5))) if op is Op.TOUCH else None
        key = rng.choice(keys if op in _READS else idle)
        return Request(op, self._medium, key, rng.getrandbits(63), ttl)

    def _create(self) -> Request:
        rng = self._rng
        ttl = rng.uniform(0.2, 5) if rng.random() < 0.3 else None
        if rng.random() < 0.3:
            key = self._new_key(f"{rng.getrandbits(96):x}")
            return Request(Op.SET, self._medium, key, rng.getrandbits(63), ttl)
        return Request(Op.PUT, self._medium, (), rng.getrandbits(63), ttl)

    def begin(self, request: Request, now: float) -> Pending:
        """Take note that a worker is about to be told."""
        pending = Pending(request, now, Belief(set()))
        if request.op is Op.SET:
            lasting = _lasting(request, now, math.inf)
            lasting.tokens.add(None)
            self.entries[request.key] = Entry(lasting, changing=True)
        elif request.op is not Op.PUT:
            entry = self.entries[request.key]
            if request.op in _READS:
                pending.seen.widen(entry.belief)
                # Widening starts from "never": take the earlier end as it is.
                pending.seen.gone_after = entry.belief.gone_after
                entry.readers.append(pending.seen)
            else:
                entry.changing = True
                entry.widen(_after(request, now))
        return pending

    def end(self, pending: Pending, answer: Answer, now: float) -> str | None:
        """Judge the answer to a request; what is wrong with it, or `None`."""
        request = pending.request
        if isinstance(answer, Failure):
            self._stop_reading(pending)
            return f"{request} raised:\n{answer.trace}"
        if request.op in _READS:
            assert answer is None or isinstance(answer, int)
            self._stop_reading(pending)
            return (
                None
                if pending.seen.admits(answer, pending.asked, now)
                else _wrong(request, answer, pending.seen)
            )
        if request.op is Op.PUT:
            assert isinstance(answer, tuple)
            self.entries[answer] = Entry(_lasting(request, pending.asked, now))
            return None
        return self._changed(self.entries[request.key], pending, bool(answer), now)

    def _changed(self, entry: Entry, pending: Pending, there: bool, now: float) -> str | None:  # noqa: FBT001
        request, belief = pending.request, entry.belief
        entry.changing = False
        if request.op is Op.EVICT or not there:
            del self.entries[request.key]
            missed = not there and not belief.admits(None, pending.asked, now)
            return _wrong(request, None, belief) if missed else None
        if request.op is Op.REPLACE:
            belief.tokens = {request.token}
            return None
        lasting = _lasting(request, pending.asked, now)
        if request.op is Op.TOUCH:
            lasting.tokens = belief.tokens
        entry.belief = lasting
        return None

    def killed(self, pending: Pending) -> None:
        """Take note that the worker died without an answer: either may have happened."""
        self._stop_reading(pending)
        if pending.request.op is Op.PUT:
            self.unanswered.add(pending.request.token)
        elif entry := self.entries.get(pending.request.key):
            entry.changing = entry.changing and pending.request.op in _READS

    def found(self, key: Key, token: int | None, asked: float, answered: float) -> str | None:
        """Judge what an audit read, while nobody works; from now on nothing else is believed."""
        belief = self.entries[key].belief
        wrong = None
        if not belief.admits(token, asked, answered):
            wrong = f"{key} of medium {self._medium} holds {token}, not {belief}"
        belief.tokens = {token}
        if token is None:
            del self.entries[key]
        return wrong

    def _stop_reading(self, pending: Pending) -> None:
        if entry := self.entries.get(pending.request.key):
            entry.readers = [reader for reader in entry.readers if reader is not pending.seen]


def _after(request: Request, now: float) -> Belief:
    """What a change that begins now may lead to."""
    if request.op is Op.EVICT:
        return Belief({None}, gone_after=-math.inf)
    if request.op is Op.REPLACE:
        return Belief({request.token}, gone_after=-math.inf)
    return Belief(set(), alive_until=math.inf if request.ttl is None else now + request.ttl)


def _lasting(request: Request, asked: float, answered: float) -> Belief:
    if request.ttl is None:
        return Belief({request.token})
    return Belief({request.token}, asked + request.ttl, answered + request.ttl)


def _wrong(request: Request, answer: Answer, belief: Belief) -> str:
    return f"{request} found {answer}, not {belief}"
