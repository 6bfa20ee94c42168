"""Namespaces: the names in one, whose it is, and what is left when its owner goes."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator

from proxystore.errors import MediumGoneError, did_you_mean
from proxystore_connectors_redis._layout import (
    CLAIM,
    CLOSED,
    OPEN,
    RELEASE,
    other_version,
)
from proxystore_connectors_redis._wire import (
    NotRedisError,
    ServerError,
    Wire,
    as_text,
    ask,
    command,
    script,
)

__all__ = ["Namespace"]

# How long those who still have proxies of a cleared namespace are told so, rather than let
# to leave objects that nobody would ever remove.
_REMEMBERED_MS = 24 * 3_600_000
_SCANNED = b"2000"
# What may be looked at, and shown, for a message.
_LOOKS = 50
_SHOWN = 10


class Namespace:
    """The names of one connector's objects.

    Args:
        name: 1 to 64 characters of ``[A-Za-z0-9_-]``: none that patterns know.
        in_one_slot: Whether all its names belong to one slot, and so to one node, of a cluster.
    """

    def __init__(self, name: str, *, in_one_slot: bool = False) -> None:
        self.name = name
        self.record = b"ps:{%b}" % name.encode() if in_one_slot else b"ps:%b" % name.encode()
        """Where it says whose the namespace is."""
        self.ask_state = command(b"GETRANGE", self.record, b"0", b"1")
        """The command for how the record begins, which `check_open` understands."""

    def object_name(self, object_id: str) -> bytes:
        """Where an object lies."""
        return b"%b:%b" % (self.record, object_id.encode())

    def check_open(self, state: bytes, where: str) -> None:
        """Return if objects may be written, going by how its record begins.

        Raises:
            MediumGoneError: Its owner has cleared it, or the server has lost the record.
            ConnectorUnavailableError: A newer version of this package made it.
        """
        if state == OPEN:
            return
        if not state:
            raise MediumGoneError(
                where,
                "the server has no record of it any more: it was flushed, was restarted, or evicts",
                f"Try again once its owner writes, which makes it anew; if there is none, "
                f"RedisConnector(..., namespace={self.name!r}, adopt=True, clear=False) does.",
            )
        if state == CLOSED:
            raise MediumGoneError(
                where,
                "its owner has closed and cleared it",
                "Keep the store that made it open until every task that uses it has ended.",
            )
        raise other_version(where, state[:1].decode("utf-8", "replace"))

    def require(self, wire: Wire, where: str) -> None:
        """Return if somebody has made the namespace, and not cleared it yet.

        Raises:
            MediumGoneError: Nobody has, or its owner cleared it.
            ConnectorUnavailableError: A newer version of this package made it.
        """
        state = as_text(ask(wire, self.ask_state))
        if state:
            self.check_open(state, where)
            return
        known, are_all = _made(wire)
        more = [f"and {len(known) - _SHOWN} more"] if len(known) > _SHOWN else []
        listed = ", ".join(known[:_SHOWN] + more) or "none"
        of = "" if are_all else ", of the names that were looked at"
        found = f"nobody has made it (made there{of}: {listed})"
        advice = (
            f"{did_you_mean(self.name, known)} Let its owner make it with RedisConnector(..., "
            f"namespace={self.name!r}), and keep it open as long as others use it."
        )
        raise MediumGoneError(where, found, advice.lstrip())

    def renew(self, wire: Wire, mine: bytes, where: str) -> None:
        """Let the record be ``mine`` if the server has lost it. May be done again.

        Raises:
            MediumGoneError: Somebody else has made and cleared the namespace since.
            ServerError: The server refused.
        """
        ask(wire, command(b"SET", self.record, mine, b"NX"))
        self.require(wire, where)

    def claim(self, wire: Wire, mine: bytes, where: str, *, adopt: bool) -> bool:
        """Let the record be ``mine``, if nobody has the namespace, or with ``adopt``.

        Returns:
            Whether it is. May be done again: it then is still.

        Raises:
            ServerError: The server refused.
            ConnectorUnavailableError: A newer version of this package made it.
        """
        found = as_text(ask(wire, script(CLAIM, self.record, mine, b"1" if adopt else b"")))
        if found != mine and found[:2] != OPEN:
            raise other_version(where, found[:1].decode("utf-8", "replace"))
        return found == mine

    def clear(self, wire: Wire, mine: bytes) -> bool:
        """Remove every object, and remember that it was done.

        Returns:
            `False` if the namespace has another owner by now: nothing was removed.
        """
        ended = b"%b%b" % (CLOSED, mine[len(OPEN) :])
        if ask(wire, script(RELEASE, self.record, mine, ended, b"%d" % _REMEMBERED_MS)) != 1:
            return False
        # After the record: who writes from now on finds it closed, and removes what it wrote.
        for names in _found(wire, b"%b:*" % self.record):
            if names:
                ask(wire, command(b"UNLINK", *names))
        return True


def _found(wire: Wire, pattern: bytes) -> Iterator[list[bytes]]:
    """The names in the database that are like ``pattern``, in batches; some may be empty."""
    cursor = b"0"
    while True:
        match ask(wire, command(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", _SCANNED)):
            case [bytes(cursor), list(names)]:
                yield [as_text(name) for name in names]
            case other:
                raise NotRedisError(f"{other!r} in answer to SCAN")
        if cursor == b"0":
            return


def _made(wire: Wire) -> tuple[list[str], bool]:
    """Namespaces that are open, of those that are soon found; and whether those are all."""
    made: list[str] = []
    batches = _found(wire, b"ps:*")
    with contextlib.suppress(ServerError):
        for names in itertools.islice(batches, _LOOKS):
            for name in names:
                record = _record(name)
                if record and ask(wire, command(b"GETRANGE", name, b"0", b"1")) == OPEN:
                    made.append(record[1].decode())
        return sorted(made), next(batches, None) is None
    return sorted(made), False


_record = re.compile(rb"ps:\{?([A-Za-z0-9_-]{1,64})\}?").fullmatch
