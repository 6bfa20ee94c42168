"""Comparing a medium with its ledger, while nobody works on it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from ledger import Ledger
from objects import TornError, token_of

from proxystore.connectors.file import FileConnector, FileKey

__all__ = ["Medium"]

_ORPHANS = ".tmp-*"
# A temporary is an orphan 60 s after its last change, which a lease puts up to 5 s ahead.
_ORPHAN_S = 66.0


class Medium:
    """One directory, its owner, and what should be in it."""

    def __init__(self, title: str, connector: FileConnector, ledger: Ledger) -> None:
        self.title, self.connector, self.ledger = title, connector, ledger
        self.checked = self.largest_nbytes = self.orphans = self.unknown = 0
        self._path = Path(connector.config()["store_dir"])

    def audit(self) -> Iterator[str]:
        """Each way in which the medium is not as it should be."""
        for name in list(self.ledger.entries):
            asked = time.time()
            try:
                token = self._read(name)
            except TornError as error:
                yield f"{name} in {self.title} is torn: {error}"
                del self.ledger.entries[name]
                continue
            self.checked += 1
            wrong = self.ledger.found(name, token, asked, time.time())
            if wrong:
                yield wrong
        yield from self._strangers()
        yield from self._leftovers()

    def _strangers(self) -> Iterator[str]:
        """Objects that nobody acknowledged are there only if their writer was killed."""
        entries = list(self.connector.entries())
        self.largest_nbytes = max(self.largest_nbytes, sum(entry.nbytes for entry in entries))
        for entry in entries:
            if entry.key.filename in self.ledger.entries:
                continue
            try:
                token = self._read(entry.key.filename)
            except TornError as error:
                yield f"{entry.key} in {self.title}, of a killed writer, is torn: {error}"
                continue
            if token is not None and token not in self.ledger.unanswered:
                yield f"{entry.key} in {self.title} was evicted, or nobody stored it"
            self.connector.evict(entry.key)
            self.unknown += 1
        # What such a writer has not stored by now it never will.
        self.ledger.unanswered.clear()

    def _leftovers(self) -> Iterator[str]:
        self.orphans += self.connector.gc().orphans
        for path in self._path.glob(_ORPHANS):
            if path.stat().st_mtime < time.time() - _ORPHAN_S:
                yield f"{path.name} in {self.title} is an orphan that was not collected"

    def end(self) -> Iterator[str]:
        """Clear the medium step by step: nothing may be left."""
        for path in self._path.glob(_ORPHANS):
            os.utime(path, (1, 1))
        for name in self.ledger.entries:
            self.connector.evict(FileKey(name))
        yield from self._strangers()
        yield from self._leftovers()
        left = {path.name for path in self._path.iterdir()} - {".owner", ".lock"}
        if left:
            yield f"left in {self.title}: {', '.join(sorted(left))}"
        self.connector.close()
        if self._path.exists():
            yield f"{self.title} is there after its owner closed it"

    def _read(self, name: str) -> int | None:
        data = self.connector.get(FileKey(name))
        return None if data is None else token_of(data)
