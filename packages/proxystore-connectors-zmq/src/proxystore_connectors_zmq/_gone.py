"""What is said of objects whose store process has ended."""

from __future__ import annotations

from proxystore.errors import MediumGoneError

__all__ = ["gone"]


def gone(where: str, found: str, *, is_owned: bool) -> MediumGoneError:
    """The error for objects that went with their store process.

    Args:
        where: The process, as a user would recognise it.
        found: What became of it, a clause.
        is_owned: Whether the owner of the namespace lives, so that another one can start.
    """
    if is_owned:
        advice = "Store them again: a put starts a new process."
    else:
        advice = "Keep the store that made it open until every proxy of it has been used."
    return MediumGoneError(where, found, advice)
