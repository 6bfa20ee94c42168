"""What to say where an engine is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from proxystore_patterns.errors import ExtraNotInstalledError

__all__ = ["importing"]


@contextmanager
def importing(extra: str) -> Iterator[None]:
    """For the imports that need ``extra`` of this distribution.

    Raises:
        ExtraNotInstalledError: One of them found no module.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        asked = f"proxystore_patterns.executors.{extra}"
        raise ExtraNotInstalledError(asked, error.name or str(error), extra) from error
