"""The copies at this site: a directory of files that processes and Globus write to."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from typing import TypeVar

from proxystore.connectors.file import FileConnector, FileKey
from proxystore.errors import MediumGoneError, UnsafeDirectoryError
from proxystore.payload import BytesLike, Payload

__all__ = ["LocalFiles"]

T = TypeVar("T")


class LocalFiles:
    """The objects that are at this site, by name. Thread and fork safe.

    The directory is there once somebody here has put an object, or one has
    arrived; until then it is empty.

    Args:
        path: The directory.
        files: A connector to it that owns it, if it was just made.
    """

    def __init__(self, path: str, files: FileConnector | None = None) -> None:
        self._path = path
        self._files = files or FileConnector.from_config({"store_dir": path})

    @property
    def is_owned(self) -> bool:
        """Whether this process made the directory, and has not been forked since."""
        return self._files.is_owner

    def put(self, payloads: Sequence[Payload]) -> list[str]:
        """The names of new objects, all of them or none. Makes the directory if there is none."""

        def put(files: FileConnector) -> list[str]:
            return [key.filename for key in files.put_batch(payloads)]

        try:
            return self._using(put)
        except MediumGoneError:
            self._files = FileConnector(self._path, clear=False)
            return put(self._files)

    def get(self, name: str) -> BytesLike | None:
        """As `FileConnector.get`."""
        return self._found(lambda files: files.get(FileKey(name)), None)

    def get_range(self, name: str, offset: int, length: int) -> BytesLike | None:
        """As `FileConnector.get_range`."""
        return self._found(lambda files: files.get_range(FileKey(name), offset, length), None)

    def exists(self, name: str) -> bool:
        """As `FileConnector.exists`."""
        return self._found(lambda files: files.exists(FileKey(name)), absent=False)

    def evict(self, name: str) -> None:
        """As `FileConnector.evict`."""
        self._found(lambda files: files.evict(FileKey(name)), None)

    def close(self, *, clear: bool) -> None:
        """Let go of the directory; remove it and the objects too if told, and owned."""
        self._files.close(clear=clear and self._files.is_owner)

    def _found(self, use: Callable[[FileConnector], T], absent: T) -> T:
        try:
            return self._using(use)
        except MediumGoneError:
            return absent

    def _using(self, use: Callable[[FileConnector], T]) -> T:
        try:
            return use(self._files)
        except UnsafeDirectoryError:
            if not _made_private(self._path):
                raise
            return use(self._files)


def _made_private(path: str) -> bool:
    """Whether the directory is this user's, and closed to others from now on.

    Globus makes directories as the umask of its server has it, which often lets
    a group write.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags)
    except OSError:
        return False
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return False
        os.fchmod(fd, 0o700)
        return True
    finally:
        os.close(fd)
