"""Numbers that users give, checked where they give them and refused in one shape."""

from __future__ import annotations

import math
import operator
import threading
from numbers import Real

__all__ = ["checked_count", "checked_number", "checked_seconds", "checked_wait", "refusal"]


# object in this module: whatever a caller gave. `asked` is what it was given to, as in
# "own(lease=)" or "batch_size".
def checked_number(asked: str, value: object, wanted: str = "a number of seconds") -> float:
    """``value``, of whatever sign and size.

    Raises:
        ValueError: It is not a number (NaN).
        TypeError: It is something else than a number.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(refusal(asked, wanted, value))
    if math.isnan(value):
        raise ValueError(refusal(asked, wanted, value))
    return float(value)


def checked_seconds(asked: str, value: object) -> float:
    """``value``, which is greater than 0 and may be infinite.

    Raises:
        ValueError: It is another number, or not a number (NaN).
        TypeError: It is something else than a number.
    """
    wanted = "a number of seconds greater than 0"
    seconds = checked_number(asked, value, wanted)
    if seconds <= 0:
        raise ValueError(refusal(asked, wanted, value))
    return seconds


def checked_wait(asked: str, value: object, *, zero: bool = True) -> float:
    """``value``, which is finite, and at least 0 or, without ``zero``, greater than 0.

    Raises:
        ValueError: It is another number, or not a number (NaN).
        TypeError: It is something else than a number.
    """
    wanted = f"a finite number of seconds {'of at least' if zero else 'greater than'} 0"
    seconds = checked_number(asked, value, wanted)
    # What locks can be waited for: 292 years.
    if not (seconds > 0 or (zero and not seconds)) or seconds > threading.TIMEOUT_MAX:
        raise ValueError(refusal(asked, wanted, value))
    return seconds


def checked_count(asked: str, value: object, *, least: int = 1) -> int:
    """``value`` as a whole number.

    Raises:
        ValueError: It is less than ``least``.
        TypeError: It is no whole number.
    """
    wanted = f"a whole number of at least {least}"
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(refusal(asked, wanted, value))
    count = operator.index(value)
    if count < least:
        raise ValueError(refusal(asked, wanted, value))
    return count


def refusal(asked: str, wanted: str, value: object) -> str:
    """What an error about ``value`` says."""
    return f"{asked} takes {wanted}, not {value!r}."
