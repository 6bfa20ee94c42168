"""Errors of the operating system, told as errors of a medium."""

from __future__ import annotations

import errno

from proxystore.errors import (
    ConnectorUnavailableError,
    MediumFullError,
    MediumGoneError,
    ProxyStoreError,
)
from proxystore.host.locks import NO_LOCKS
from proxystore.host.node import this_node

__all__ = ["FULL", "explained", "gone"]

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Error numbers of a medium that has no room."""

_GONE = frozenset({errno.ENOENT, errno.ESTALE})


def gone(path: str) -> MediumGoneError:
    """The error for a directory that is not there."""
    return MediumGoneError(
        f"directory {path}",
        f"it does not exist on host {this_node().host!r}",
        f"Its owner closed it, it belongs to another container, mount or host, or it never "
        f"existed. Keep the store that made it open until every proxy was used; or check the "
        f"path, and make it with FileConnector({path!r}).",
    )


def explained(error: OSError, path: str, nbytes: int = 0) -> ProxyStoreError:
    """What ``error`` means for the objects in directory ``path``.

    Args:
        error: Caught while using the directory.
        path: The directory.
        nbytes: Size of the object that was being stored.

    Raises:
        ProxyStoreError: ``error``, if it is one of ours: from itself, it would be its own cause.
    """
    if isinstance(error, ProxyStoreError):
        raise error
    if error.errno in FULL:
        return MediumFullError(
            path,
            nbytes,
            f"The system says: {error.strerror}. Evict objects, close stores that are not "
            f"used any more, run 'proxystore gc', or name a directory with more room.",
        )
    if error.errno in _GONE:
        return gone(path)
    where, found = f"directory {path}", error.strerror or str(error)
    if error.errno in NO_LOCKS:
        advice = "Its file system has no file locks: mount it with them, or name another one."
    else:
        advice = "Check the directory, its permissions and its file system."
    return ConnectorUnavailableError(where, found, advice)
