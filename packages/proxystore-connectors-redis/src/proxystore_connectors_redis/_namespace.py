"""Namespaces: the names in one, whose it is, and what is left when its owner goes."""

from __future__ import annotations

from proxystore.errors import MediumGoneError
from proxystore_connectors_redis._layout import (
    CLAIM,
    CLOSED,
    OPEN,
    RELEASE,
    other_version,
)
from proxystore_connectors_redis._wire import (
    NotRedisError,
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


class Namespace:
    """The names of one connector's objects.

    Args:
        name: 1 to 64 characters of ``[A-Za-z0-9_-]``: none that patterns know.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.record = b"ps:%b" % name.encode()
        """Where it says whose the namespace is."""
        self.ask_state = command(b"GETRANGE", self.record, b"0", b"1")
        """The command for how the record begins, which `check_open` understands."""

    def object_name(self, object_id: str) -> bytes:
        """Where an object lies."""
        return b"%b:%b" % (self.record, object_id.encode())

    def check_open(self, state: bytes, where: str) -> None:
        """Return if objects may be written, going by how its record begins.

        Raises:
            MediumGoneError: Its owner has cleared it.
            ConnectorUnavailableError: A newer version of this package made it.
        """
        if state in {b"", OPEN}:
            return
        if state == CLOSED:
            raise MediumGoneError(
                where,
                "its owner has closed and cleared it",
                "Keep the store that made it open until every task that uses it has ended.",
            )
        raise other_version(where, state[:1].decode("utf-8", "replace"))

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
        cursor = b"0"
        while True:
            scan = command(b"SCAN", cursor, b"MATCH", b"%b:*" % self.record, b"COUNT", _SCANNED)
            match ask(wire, scan):
                case [bytes(cursor), list(names)]:
                    if names:
                        ask(wire, command(b"UNLINK", *map(as_text, names)))
                case other:
                    raise NotRedisError(f"{other!r} in answer to SCAN")
            if cursor == b"0":
                return True
