"""Names of topics, checked where they are given."""

from __future__ import annotations

__all__ = ["checked_topic"]


# object: whatever a caller gave.
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
