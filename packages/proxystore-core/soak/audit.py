"""Comparing a medium with its ledger, while nobody works on it."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ledger import Ledger
from objects import TornError, token_of
from worker import Op, Subject

from proxystore.abc import Key
from proxystore.connectors.file import FileEntry
from proxystore.connectors.shm import ShmConnector, ShmEntry

__all__ = ["Medium"]

_ORPHANS = ".tmp-*"
# A temporary is an orphan 60 s after its last change, which a lease puts up to 5 s ahead.
_ORPHAN_S = 66.0
# What is there without objects: the locks of directories, and where they say how much they take.
_FIXED = frozenset({".lock", ".medium", ".owner", ".room", ".slabs", ".spilled"})


class Medium:
    """One directory, its owner, and what should be in it.

    Args:
        title: What to call it.
        connector: Its owner.
        ledger: What should be in it.
        max_nbytes: Bytes of the file system that it may take.
    """

    def __init__(
        self, title: str, connector: Subject, ledger: Ledger, max_nbytes: int | None = None
    ) -> None:
        self.title, self.connector, self.ledger = title, connector, ledger
        self.done: Counter[Op] = Counter()
        self.violations: list[str] = []
        self.checked = self.orphans = self.unknown = 0
        self.taken: list[int] = []
        """Bytes of the file system, at each audit."""
        self.most_on_disk = 0
        """Objects that were on a disk for want of room, of an audit."""
        self.left = 0
        """Bytes of it at the end, without objects."""
        self._max_nbytes = max_nbytes
        self._path = Path(connector.config()["store_dir"])

    def audit(self) -> Iterator[str]:
        """Each way in which the medium is not as it should be."""
        for key in list(self.ledger.entries):
            asked = time.time()
            try:
                token = self._read(key)
            except TornError as error:
                yield f"{key} in {self.title} is torn: {error}"
                del self.ledger.entries[key]
                continue
            self.checked += 1
            wrong = self.ledger.found(key, token, asked, time.time())
            if wrong:
                yield wrong
        yield from self._strangers()
        yield from self._leftovers()
        self.taken.append(self._allocated())
        on_disk = sum(path.is_symlink() for path in self._path.glob("[!.]*"))
        self.most_on_disk = max(self.most_on_disk, on_disk)
        yield from self._unexplained()

    def _strangers(self) -> Iterator[str]:
        """Objects that nobody acknowledged are there only if their writer was killed."""
        entries: list[FileEntry | ShmEntry] = list(self.connector.entries())
        for entry in entries:
            if entry.key in self.ledger.entries:
                continue
            try:
                token = self._read(entry.key)
            except TornError as error:
                yield f"{entry.key} in {self.title}, of a killed writer, is torn: {error}"
                continue
            if token is not None and token not in self.ledger.unanswered:
                yield f"{entry.key} in {self.title} was evicted, or nobody stored it"
            self._evict(entry.key)
            self.unknown += 1
        # What such a writer has not stored by now it never will.
        self.ledger.unanswered.clear()

    def _leftovers(self) -> Iterator[str]:
        self.orphans += self.connector.gc().orphans
        for path in self._path.glob(_ORPHANS):
            if path.lstat().st_mtime < time.time() - _ORPHAN_S:
                yield f"{path.name} in {self.title} is an orphan that was not collected"

    def _unexplained(self) -> Iterator[str]:
        """Bytes of which the census does not know, or beyond the bound."""
        if isinstance(self.connector, ShmConnector):
            explained = self.connector.census().uses.total()
            if explained != self.taken[-1]:
                yield f"{self.title} takes {self.taken[-1]} bytes, explained are {explained}"
        if self._max_nbytes is not None and self.taken[-1] > self._max_nbytes:
            yield f"{self.title} takes {self.taken[-1]} bytes, more than {self._max_nbytes}"

    def end(self) -> Iterator[str]:
        """Clear the medium step by step: nothing may be left."""
        for path in self._path.glob(_ORPHANS):
            os.utime(path, (1, 1), follow_symlinks=False)
        for key in self.ledger.entries:
            self._evict(key)
        yield from self._strangers()
        yield from self._leftovers()
        self.left = self._allocated()
        left = {path.name for path in self._path.iterdir()} - _FIXED
        if left:
            yield f"left in {self.title}: {', '.join(sorted(left))}"
        self.connector.close()
        if self._path.exists():
            yield f"{self.title} is there after its owner closed it"

    def _allocated(self) -> int:
        total = 0
        for path in self._path.iterdir():
            with suppress(FileNotFoundError):
                total += path.lstat().st_blocks * 512
        return total

    def _read(self, key: Key) -> int | None:
        data = self.connector.get(key)  # type: ignore[arg-type]
        return None if data is None else token_of(data)

    def _evict(self, key: Key) -> None:
        self.connector.evict(key)  # type: ignore[arg-type]
