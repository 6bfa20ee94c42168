"""The worker processes: told, listened to, killed and replaced."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Self

from ledger import Pending
from objects import nbytes_of
from worker import WRITES, Answer, Op, Request, work

__all__ = ["Crew", "HungError", "Member"]

PATIENCE_S = 60.0
_LATEST_KILL_S = 0.003
_LARGE = 0.75
_MUCH_NBYTES = 1_000_000
_SPAWN = multiprocessing.get_context("spawn")


class HungError(Exception):
    """No worker answered in `PATIENCE_S`, or one ended without being killed."""


@dataclass
class Member:
    """One worker process and what it was told."""

    process: BaseProcess
    connection: Connection
    pending: Pending | None = None

    @classmethod
    def hire(cls, urls: Sequence[str]) -> Self:
        """Start a process that works on the media at ``urls``."""
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=work, args=(theirs, list(urls)), daemon=True)
        process.start()
        theirs.close()
        return cls(process, ours)

    def tell(self, pending: Pending) -> None:
        """Send a request; the answer comes from `Crew.answers`."""
        self.pending = pending
        # Killed from outside: listening will say so.
        with suppress(BrokenPipeError):
            self.connection.send(pending.request)

    def ask(self, op: Op) -> Answer:
        """The answer to a request that concerns no object, of an idle worker."""
        self.connection.send(Request(op))
        return self.listen(PATIENCE_S)

    def listen(self, timeout: float) -> Answer:
        """The next answer.

        Raises:
            HungError: None came, or the process has ended.
        """
        if not self.connection.poll(timeout):
            raise HungError(f"{self.process.name} answered nothing for {timeout:g} s.")
        try:
            # Any: what a connection gives is what a worker sent.
            answer: Answer = self.connection.recv()
        except (EOFError, ConnectionResetError):
            raise HungError(f"{self.process.name} ended: {self.process.exitcode}.") from None
        return answer

    def dismiss(self) -> None:
        """Let the process end."""
        self.connection.close()
        self.process.join(PATIENCE_S)
        self.process.kill()
        self.process.join()


def _writes_much(pending: Pending) -> bool:
    return pending.request.op in WRITES and nbytes_of(pending.request.token) >= _MUCH_NBYTES


def _does_anything(pending: Pending) -> bool:
    return True


class Crew:
    """Several workers, of which all but the first get killed now and then.

    Args:
        urls: The media.
        size: How many workers, at least 2.
        between_kills_s: Mean time from one kill to the next.
        rng: Chooses whom to kill and when.
    """

    def __init__(
        self, urls: Sequence[str], size: int, between_kills_s: float, rng: random.Random
    ) -> None:
        self._urls, self._rate, self._rng = urls, 1 / between_kills_s, rng
        self.members = [Member.hire(urls) for _ in range(size)]
        self.kills = 0
        self._plan_kill()

    def idle(self) -> list[Member]:
        """Those who wait to be told something."""
        return [member for member in self.members if member.pending is None]

    def answers(self) -> Iterator[tuple[Pending, Answer]]:
        """What at least one worker answered. Waits for it.

        Raises:
            HungError: Nobody answered.
        """
        busy = {member.connection: member for member in self.members if member.pending}
        ready = wait(list(busy), PATIENCE_S)
        if not ready:
            raise HungError(f"No worker answered for {PATIENCE_S:g} s.")
        for connection in ready:
            assert isinstance(connection, Connection)
            member = busy[connection]
            pending, answer = member.pending, member.listen(0)
            assert pending is not None
            member.pending = None
            yield pending, answer

    def _plan_kill(self) -> None:
        self._next_kill = time.monotonic() + self._rng.expovariate(self._rate)
        # Small objects are written in less time than it takes to aim.
        self._aims_at = _writes_much if self._rng.random() < _LARGE else _does_anything

    def kill_if_due(self) -> tuple[Pending, bool, Answer] | None:
        """Now and then: kill -9 a worker that is at work, and start another.

        Returns:
            What it was told, whether it had answered, and the answer.
        """
        if time.monotonic() < self._next_kill:
            return None
        victims = [
            each for each in self.members[1:] if each.pending and self._aims_at(each.pending)
        ]
        if not victims:
            return None
        self._plan_kill()
        victim = self._rng.choice(victims)
        # Somewhere between its first system call and its answer.
        time.sleep(self._rng.uniform(0, _LATEST_KILL_S))
        victim.process.kill()
        victim.process.join()
        self.kills += 1
        pending = victim.pending
        assert pending is not None
        answered, answer = False, None
        # Answered before it died: then it counts.
        with suppress(HungError):
            answer, answered = victim.listen(0), True
        victim.connection.close()
        self.members[self.members.index(victim)] = Member.hire(self._urls)
        return pending, answered, answer

    def dismiss(self) -> None:
        """End every worker."""
        for member in self.members:
            member.dismiss()
