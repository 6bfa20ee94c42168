"""Times to live, checked once for every connector that has them."""

from __future__ import annotations

__all__ = ["checked_ttl"]


def checked_ttl(ttl: float | None) -> float | None:
    """``ttl`` as it is.

    Raises:
        ValueError: It is not a number of seconds greater than zero.
    """
    # "not >" rather than "<=": a NaN compares false with everything.
    if ttl is not None and not ttl > 0:
        raise ValueError(f"ttl is a number of seconds greater than 0, or None, not {ttl!r}.")
    return ttl
