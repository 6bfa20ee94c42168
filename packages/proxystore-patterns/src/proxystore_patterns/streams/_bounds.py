"""Options of producers and consumers, checked in one place and refused in one shape."""

from __future__ import annotations

import operator
import threading
from numbers import Real

__all__ = ["check_broker", "checked_count", "checked_seconds"]


# object: whatever a caller gave.
def checked_count(name: str, value: object, *, least: int = 1) -> int:
    """``value`` as a whole number.

    Raises:
        ValueError: It is less than ``least``.
        TypeError: It is no whole number.
    """
    wanted = f"a whole number of at least {least}"
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(_message(name, wanted, value))
    count = operator.index(value)
    if count < least:
        raise ValueError(_message(name, wanted, value))
    return count


def checked_seconds(name: str, value: object, *, zero: bool = True) -> float | None:
    """``value`` as seconds that a lock can be waited for; `None` as it is.

    Raises:
        ValueError: It is negative, infinite or not a number, or 0 where that means nothing.
        TypeError: It is no number.
    """
    if value is None:
        return None
    wanted = f"a finite number of seconds {'from' if zero else 'above'} 0, or None for no bound"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(_message(name, wanted, value))
    seconds = float(value)
    # Not "<": a NaN compares false with everything.
    if not ((seconds > 0 or (zero and seconds == 0)) and seconds <= threading.TIMEOUT_MAX):
        raise ValueError(_message(name, wanted, value))
    return seconds


def check_broker(name: str, value: object, kind: str, call: str) -> None:
    """Return if ``value`` has ``call``. Not isinstance: of a protocol it asks for properties too.

    Raises:
        TypeError: It has not.
    """
    if not callable(getattr(value, call, None)):
        raise TypeError(_message(name, f"a {kind} of a broker", value))


def _message(name: str, wanted: str, value: object) -> str:
    return f"{name} is {wanted}, not {value!r}."
