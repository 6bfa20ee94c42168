"""A medium of its own for a connector."""

from __future__ import annotations

import os
import warnings
from functools import cache

from proxystore.abc import Acknowledgement
from proxystore.connectors._file.address import Address
from proxystore.connectors._file.attachment import Attachment
from proxystore.connectors._file.media import private_directory
from proxystore.connectors._shm.room import default_bound, set_bound
from proxystore.host.node import this_node

__all__ = ["owned"]


def owned(max_nbytes: int | None, *, collect: bool) -> Attachment:
    """A fresh private directory, bounded, and cleared when it is closed.

    Raises:
        ValueError: ``max_nbytes`` is negative.
        UnsafeDirectoryError: Somebody else made the directory that holds them.
        ConnectorUnavailableError: The system refused.
    """
    if max_nbytes is not None and max_nbytes < 0:
        raise ValueError(f"A store cannot take {max_nbytes} bytes of shared memory.")
    directory = private_directory(collect=collect)
    if directory.is_in_memory:
        set_bound(directory, default_bound(directory) if max_nbytes is None else max_nbytes)
    else:
        _tell_of_disk(os.path.dirname(directory.path))
    node = this_node() if directory.is_in_memory else None
    address = Address(directory.path, node, Acknowledgement.PROCESS, "shm")
    return Attachment(address, directory, clear=True)


@cache
def _tell_of_disk(folder: str) -> None:
    warnings.warn(
        f"There is no shared memory to use on this system, or less than 32 MiB of it: objects "
        f"are kept in files, in {folder}, which is slower. In a container, give it "
        f"more (--shm-size).",
        RuntimeWarning,
        stacklevel=5,
    )
