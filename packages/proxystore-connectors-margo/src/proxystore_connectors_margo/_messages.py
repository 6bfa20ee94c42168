"""What clients and store processes say to each other, in arguments of one RPC.

A request is ``(VERSION, operation, identifier, ...)``, an answer ``(word, ...)``: text,
numbers, `None` and bulk handles, nothing else. The bytes of objects never travel in
them, but by bulk transfers. mochi pickles both; see the README for whom that trusts.
"""

from __future__ import annotations

import enum

__all__ = ["ANSWERS", "RPC_NAME", "VERSION", "Op", "Word"]

RPC_NAME = "proxystore"
VERSION = 1


class Op(enum.Enum):
    """What a client asks for; its arguments after the identifier."""

    SET = "set"
    """``[(bulk, nbytes), ...], ttl``: create, once."""
    REPLACE = "replace"
    """``[(bulk, nbytes), ...]``."""
    READ = "read"
    """``bulk, offset, nbytes, total``: a part of an object of ``total`` bytes."""
    STAT = "stat"
    EVICT = "evict"
    TOUCH = "touch"
    """``ttl``."""
    WAIT = "wait"
    """``seconds``: answered when the object is there, or after that time."""
    LIVES = "lives"
    """Asked of the home, with the namespace as identifier: is it still the home of that?"""
    CLOSED = "closed"
    """From the owner, when it has let go of the namespace, which is the identifier."""


class Word(enum.Enum):
    """How an answer begins."""

    OK = "ok"
    """To `Op.STAT` with the size and the generation, to `Op.READ` with the latter."""
    ABSENT = "absent"
    SET_ALREADY = "set already"
    RESIZED = "resized"
    """With the ``total`` that it is."""
    FULL = "full"
    """With what to do."""
    FAILED = "failed"
    """With what happened."""
    OTHER_VERSION = "other version"
    """With the one that the store process speaks."""


_FOUND: dict[Word, tuple[type, ...]] = {Word.OK: (), Word.ABSENT: ()}

ANSWERS: dict[Op, dict[Word, tuple[type, ...]]] = {
    Op.SET: {Word.OK: (), Word.SET_ALREADY: ()},
    Op.REPLACE: _FOUND,
    Op.READ: {Word.OK: (int,), Word.ABSENT: (), Word.RESIZED: (int,)},
    Op.STAT: {Word.OK: (int, int), Word.ABSENT: ()},
    Op.EVICT: {Word.OK: ()},
    Op.TOUCH: _FOUND,
    Op.WAIT: _FOUND,
    Op.LIVES: _FOUND,
    Op.CLOSED: _FOUND,
}
"""What can be answered to each operation, but for errors, and the types of what comes with it."""
