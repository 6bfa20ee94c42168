"""Objects into the server, out of the memory where they lie."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from proxystore.connectors.options import checked_ttl
from proxystore.payload import Buffers, Payload, as_buffers
from proxystore_connectors_redis._layout import (
    ABANDON,
    COMMIT,
    STAGED_MS,
    Header,
    fresh_generation,
)
from proxystore_connectors_redis._wire import ServerError, Wire, as_text, ask, command

__all__ = ["Draft", "commit", "digits", "milliseconds", "write_all"]

# What is on its way at once, in a batch: enough to keep the server busy.
_WINDOW_NBYTES = 8 << 20
_WINDOW_COUNT = 256
_LONGEST_MS = 1 << 52


class Draft(NamedTuple):
    """An object to be written."""

    name: bytes
    header: Header
    payload: Buffers

    @classmethod
    def of(cls, name: bytes, payload: Payload, part_nbytes: int) -> Draft:
        """A draft of ``payload``, in parts if it is larger than ``part_nbytes``."""
        buffers = as_buffers(payload)
        parts = part_nbytes if buffers.nbytes > part_nbytes else 0
        return cls(name, Header(fresh_generation(), buffers.nbytes, parts), buffers)

    @property
    def staged_name(self) -> bytes:
        """Where its value lies until it is committed."""
        return b"%b:%b" % (self.name, self.header.generation)

    @property
    def names(self) -> list[bytes]:
        """Every name under which something of it may lie."""
        parts = [self.header.part_name(self.name, i) for i in range(self.header.part_count)]
        return [self.name, self.staged_name, *parts]


def write_all(wire: Wire, drafts: Sequence[Draft], ask_state: bytes, ms: int | None) -> bytes:
    """Write objects without parts under names that nobody has yet.

    Args:
        wire: Free for use.
        drafts: What to write; their names are fresh, so it may be done again.
        ask_state: A command, sent with the last of them.
        ms: Their time to live.

    Returns:
        The answer to ``ask_state``.

    Raises:
        ServerError: The server refused one. Those before it may be there.
    """
    for window in _windows(drafts) if len(drafts) > 1 else (drafts,):
        sent: list[bytes | memoryview] = []
        for draft in window:
            sent += _set(draft.name, draft.header, ms, draft.payload)
        sent.append(ask_state)
        wire.send(sent, len(window) + 1)
        answers = wire.replies()
    return as_text(answers[-1])


def commit(wire: Wire, draft: Draft, record: bytes, mode: bytes, ms: int | None) -> bytes:
    """Write an object of any size, which appears at once when it is complete.

    Args:
        wire: Free for use.
        draft: What to write. May be done again: its generation tells that it was done.
        record: Name of the record of the namespace.
        mode: Of `COMMIT`.
        ms: Its time to live.

    Returns:
        What `COMMIT` answered.

    Raises:
        ServerError: The server refused something, and parts may be left.
    """
    try:
        staged = _staged_parts(wire, draft)
        names = (draft.name, draft.staged_name, record)
        arguments = (mode, draft.header.generation, digits(ms))
        script = command(b"EVAL", COMMIT.encode(), b"3", *names, *arguments)
        wire.send([*_set(draft.staged_name, draft.header, STAGED_MS, staged), script], 2)
        return as_text(wire.replies()[-1])
    except ServerError:
        if _abandoned(wire, draft):
            raise
        # A connection was lost after it had been done, and it was being done again.
        return b"done"


def _staged_parts(wire: Wire, draft: Draft) -> Sequence[memoryview]:
    """Write the parts, if there are any, and give what is left of the payload."""
    part_nbytes = draft.header.part_nbytes
    if not part_nbytes:
        return draft.payload
    for number, part in enumerate(_parts(draft.payload, part_nbytes)):
        name = draft.header.part_name(draft.name, number)
        wire.send(_set(name, None, STAGED_MS, part), 1)
        wire.replies()
    return ()


def _abandoned(wire: Wire, draft: Draft) -> bool:
    """Remove what was staged, but not what has become an object."""
    names = draft.names
    arguments = (b"%d" % len(names), *names, draft.header.generation)
    return ask(wire, command(b"EVAL", ABANDON.encode(), *arguments)) == 1


def _set(
    name: bytes, header: Header | None, ms: int | None, payload: Sequence[memoryview]
) -> list[bytes | memoryview]:
    """The command that gives ``name`` the value of ``header`` and ``payload``."""
    beginning = b"" if header is None else header.to_bytes()
    nbytes = len(beginning) + sum(map(len, payload))
    expiry = b"" if ms is None else b"$2\r\nPX\r\n$%d\r\n%d\r\n" % (len(str(ms)), ms)
    before = b"*%d\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b" % (
        *(5 if expiry else 3, len(name), name, nbytes, beginning),
    )
    return [before, *payload, b"\r\n" + expiry]


def _windows(drafts: Sequence[Draft]) -> Iterator[Sequence[Draft]]:
    start = nbytes = 0
    for at, draft in enumerate(drafts):
        nbytes += draft.header.nbytes
        if at > start and (nbytes > _WINDOW_NBYTES or at - start >= _WINDOW_COUNT):
            yield drafts[start:at]
            start, nbytes = at, draft.header.nbytes
    yield drafts[start:]


def _parts(payload: Buffers, part_nbytes: int) -> Iterator[list[memoryview]]:
    """The payload in runs of views, of ``part_nbytes`` each, but for the last."""
    part: list[memoryview] = []
    room = part_nbytes
    for view in payload:
        while view:
            piece, view = view[:room], view[room:]
            part.append(piece)
            room -= len(piece)
            if not room:
                yield part
                part, room = [], part_nbytes
    if part:
        yield part


def milliseconds(ttl: float | None) -> int | None:
    """``ttl`` as servers take it: at least 1, and less than what overflows there.

    Raises:
        ValueError: It is not greater than zero.
        TypeError: It is no number.
    """
    ttl = checked_ttl(ttl)
    return None if ttl is None else math.ceil(min(ttl * 1000, _LONGEST_MS))


def digits(number: int | None) -> bytes:
    """``number`` as commands take it, nothing for `None`."""
    return b"" if number is None else b"%d" % number
