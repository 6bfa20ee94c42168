"""Times to live, checked once for every connector that has them."""

from __future__ import annotations

__all__ = ["checked_ttl"]


def checked_ttl(ttl: float | None) -> float | None:
    """``ttl`` as it is.

    Raises:
        ValueError: It is not greater than zero.
        TypeError: It is no number.
    """
    try:
        # ">" rather than "<=": a NaN compares false with everything.
        valid = ttl is None or ttl > 0
    except TypeError as exc:
        raise TypeError(_expected(ttl)) from exc
    if not valid:
        raise ValueError(_expected(ttl))
    return ttl


def _expected(ttl: object) -> str:
    return f"ttl is a number of seconds greater than 0, or None, not {ttl!r}."
