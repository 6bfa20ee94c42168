"""Why a run failed, in sentences for the user."""

from __future__ import annotations

from proxystore.errors import MediumFullError
from taps.errors import DependencyError

__all__ = ["failure_text"]

_ELSEWHERE = (
    "For a run by proxy, choose where with "
    "--transformer.url file:///an/existing/directory on a disk with room."
)


def failure_text(error: BaseException) -> str:
    """What was raised, and for a task that was not run why its first ancestor failed."""
    cause = error
    while isinstance(cause, DependencyError) and cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [_named(error)]
    if cause is not error:
        lines.append(f"The cause: {_named(cause)}")
    if isinstance(cause, MediumFullError):
        lines.append(_ELSEWHERE)
    return "\n".join(lines)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
