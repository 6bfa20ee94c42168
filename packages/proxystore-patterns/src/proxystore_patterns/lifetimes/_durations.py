"""Durations that users give, checked where they give them."""

from __future__ import annotations

import math
from numbers import Real

__all__ = ["checked_number", "checked_seconds"]


def checked_seconds(asked: str, seconds: object) -> float:
    """``seconds``, which are more than none.

    Args:
        asked: What they were given to, as in ``"own(lease=)"``.
        seconds: May be infinite.

    Raises:
        ValueError: They are not greater than 0.
        TypeError: They are no number.
    """
    number = checked_number(asked, seconds)
    if number <= 0:
        raise ValueError(f"{asked} takes a number of seconds greater than 0, not {seconds!r}.")
    return number


def checked_number(asked: str, seconds: object) -> float:
    """``seconds``, of whatever sign.

    Raises:
        ValueError: They are not a number (NaN).
        TypeError: They are something else than a number.
    """
    text = f"{asked} takes a number of seconds, not {seconds!r}."
    if isinstance(seconds, bool) or not isinstance(seconds, Real):
        raise TypeError(text)
    if math.isnan(seconds):
        raise ValueError(text)
    return float(seconds)
