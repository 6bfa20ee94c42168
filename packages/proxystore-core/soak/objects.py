"""Objects that tell whether they are whole: a token gives the bytes, the bytes give the token."""

from __future__ import annotations

import functools
import struct
from random import Random

from xxhash import xxh3_64_intdigest

__all__ = ["TornError", "make", "nbytes_of", "token_of"]

_HEADER = struct.Struct("<QQ")
_LARGEST = 4_000_000
# On both sides of 64 KiB, beyond which reads are mappings.
_SIZES = (0, 100, 4_000, 65_520, 65_536, 200_000, 1_000_000, _LARGEST)
_WEIGHTS = (5, 30, 30, 5, 5, 15, 8, 2)


class TornError(Exception):
    """Bytes that no object ever had."""


def make(token: int) -> bytes:
    """The object of ``token``: header, then bytes that differ from place to place."""
    start, nbytes = _extent(token)
    body = _noise()[start : start + nbytes]
    return _HEADER.pack(token, xxh3_64_intdigest(body)) + body


def nbytes_of(token: int) -> int:
    """Bytes of the object of ``token``, its header left out."""
    return _extent(token)[1]


def token_of(data: bytes | bytearray | memoryview) -> int:
    """The token of a whole object.

    Raises:
        TornError: It is not whole.
    """
    if len(data) < _HEADER.size:
        raise TornError(f"only {len(data)} bytes")
    token, digest = _HEADER.unpack_from(data)
    with memoryview(data) as view:
        found = (view.nbytes - _HEADER.size, xxh3_64_intdigest(view[_HEADER.size :]))
    expected = (nbytes_of(token), digest)
    if found != expected:
        raise TornError(f"size and checksum are {found}, not {expected}")
    return int(token)


def _extent(token: int) -> tuple[int, int]:
    rng = Random(token)  # noqa: S311 - not a secret
    return rng.randrange(_LARGEST), rng.choices(_SIZES, _WEIGHTS)[0]


@functools.cache
def _noise() -> bytes:
    return Random(0).randbytes(2 * _LARGEST)  # noqa: S311 - not a secret
