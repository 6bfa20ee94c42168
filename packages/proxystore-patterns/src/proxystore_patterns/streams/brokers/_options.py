"""Options of brokers, checked where they are given."""

from __future__ import annotations

from proxystore_patterns.streams._bounds import checked_seconds

__all__ = ["checked_topic", "seconds"]


# object: whatever a caller gave.
def seconds(name: str, value: object, *, zero: bool = True) -> float:
    """As `checked_seconds`, of what has a bound."""
    found = checked_seconds(name, value, zero=zero)
    if found is None:
        raise TypeError(f"{name} is a number of seconds, not None.")
    return found


def checked_topic(topic: object, reserved: str = "\0") -> str:
    """``topic``, if it is a name for one.

    Args:
        topic: What was given.
        reserved: What no topic begins with, for the broker keeps other things there.

    Raises:
        TypeError: It is no string.
        ValueError: It is empty or reserved.
    """
    if not isinstance(topic, str):
        raise TypeError(f"A topic is named by a string, not {topic!r}.")
    if not topic or topic.startswith(reserved):
        found = f"begins with {reserved!r}, as names of our own do" if topic else "is empty"
        raise ValueError(f"The topic {topic!r} {found}. Give it another name.")
    return topic
