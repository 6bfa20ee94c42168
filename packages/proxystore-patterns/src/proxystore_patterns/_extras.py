"""What modules say whose library comes with an extra that is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from proxystore_patterns.errors import ExtraNotInstalledError

__all__ = ["importing"]


@contextmanager
def importing(extra: str) -> Iterator[None]:
    """For the imports that need ``extra`` of this distribution.

    Raises:
        ExtraNotInstalledError: A library was not found.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or str(error)).partition(".")[0]
        raise ExtraNotInstalledError(library, extra) from error
