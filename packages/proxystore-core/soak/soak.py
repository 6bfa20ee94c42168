"""One run: workers are told, heard and killed, and what they did is checked."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from audit import Medium
from crew import Crew, HungError
from ledger import Pending
from watch import Usage, growth
from worker import Answer, Op

__all__ = ["Soak"]

_AUDIT_S = 5.0
_MOST_VIOLATIONS = 20
# Slabs and segments that a process has open come and go, up to some hundred; a leak does not.
_MOST_GROWTH = Usage(descriptors=100, mappings=100, private_nbytes=8 << 20)


class Soak:
    """One run.

    Args:
        media: What to work on.
        crew: Who works.
        rng: Chooses among the media.
        show: Called after each audit.
    """

    def __init__(
        self,
        media: Sequence[Medium],
        crew: Crew,
        rng: random.Random,
        show: Callable[[Soak], None],
    ) -> None:
        self.media, self.crew, self._rng, self._show = media, crew, rng, show
        self.elapsed_s = 0.0
        self.violations: list[str] = []
        """What no medium is to blame for."""
        self.audits = self.unanswered = self.hangs = 0
        self.usages: dict[str, list[Usage]] = {"the worker never killed": [], "the owner": []}
        """Of those who live long enough to grow, at each audit."""
        self.most = Usage()
        """Of any worker."""

    def run(self, seconds: float) -> None:
        """Work for ``seconds``, or until too much is wrong.

        Raises:
            KeyboardInterrupt: Ctrl-C. What was found so far is here.
        """
        started = time.monotonic()
        try:
            while self.elapsed_s < seconds and len(self.all_violations()) < _MOST_VIOLATIONS:
                next_audit = time.monotonic() + _AUDIT_S
                while time.monotonic() < min(next_audit, started + seconds):
                    self._work()
                self._audit()
                self.elapsed_s = time.monotonic() - started
                self._show(self)
        except HungError as error:
            self.hangs += 1
            self.violations.append(str(error))
        self._judge_growth()
        self.crew.dismiss()
        for medium in self.media:
            medium.violations += medium.end()

    def all_violations(self) -> list[str]:
        """What was wrong, of the media and otherwise."""
        return [each for medium in self.media for each in medium.violations] + self.violations

    def growths(self) -> dict[str, Usage]:
        """By how much each of those did grow who live long enough."""
        return {
            who: Usage(*(growth(each) for each in zip(*samples, strict=True)))
            for who, samples in self.usages.items()
            if samples
        }

    def _work(self) -> None:
        """Give work to whoever has none, then hear, or kill, whoever works."""
        for member in self.crew.idle():
            ledger = self._rng.choice(self.media).ledger
            member.tell(ledger.begin(ledger.choose(), time.time()))
        if killed := self.crew.kill_if_due():
            pending, answered, answer = killed
            if answered:
                self._judge(pending, answer)
            else:
                self.unanswered += 1
                self.media[pending.request.medium].ledger.killed(pending)
        else:
            self._hear()

    def _hear(self) -> None:
        for pending, answer in self.crew.answers():
            self._judge(pending, answer)

    def _judge(self, pending: Pending, answer: Answer) -> None:
        medium = self.media[pending.request.medium]
        medium.done[pending.request.op] += 1
        wrong = medium.ledger.end(pending, answer, time.time())
        if wrong:
            medium.violations.append(wrong)

    def _audit(self) -> None:
        while len(self.crew.idle()) < len(self.crew.members):
            self._hear()
        for medium in self.media:
            medium.violations += medium.audit()
        self.audits += 1
        usages = [member.ask(Op.USAGE) for member in self.crew.members]
        found = [usage for usage in usages if isinstance(usage, Usage)]
        for samples, usage in zip(
            self.usages.values(), (found[0], Usage.of_this_process()), strict=True
        ):
            samples.append(usage)
        self.most = Usage(*map(max, zip(*found, self.most, strict=True)))

    def _judge_growth(self) -> None:
        for who, grown in self.growths().items():
            for what, by, most in zip(Usage._fields, grown, _MOST_GROWTH, strict=True):
                if by > most:
                    self.violations.append(f"{who} grew by {by:,.0f} {what}, more than {most:,}")
