"""What the stand-in knows, and what is to go wrong with it."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WAIT_S = 30.0

Document = dict[str, Any]


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.document = {"code": code, "message": message, "request_id": "standin01", **more}


class Records:
    """Documents by kind and id, kept in a file."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._lock = threading.RLock()
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("CREATE TABLE IF NOT EXISTS r (kind, id, doc, PRIMARY KEY (kind, id))")

    def get(self, kind: str, key: str) -> Document | None:
        with self._lock:
            row = self._db.execute(
                "SELECT doc FROM r WHERE kind = ? AND id = ?", (kind, key)
            ).fetchone()
        return json.loads(row[0]) if row else None

    def put(self, kind: str, key: str, document: Document) -> None:
        with self._lock:
            row = (kind, key, json.dumps(document))
            self._db.execute(
                "INSERT INTO r VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET doc = excluded.doc", row
            )

    def remove(self, kind: str, key: str) -> None:
        with self._lock:
            self._db.execute("DELETE FROM r WHERE kind = ? AND id = ?", (kind, key))

    def all(self, kind: str) -> list[Document]:
        with self._lock:
            rows = self._db.execute("SELECT doc FROM r WHERE kind = ? ORDER BY rowid", (kind,))
            return [json.loads(row[0]) for row in rows]

    def active(self) -> list[Document]:
        with self._lock:
            rows = self._db.execute(
                "SELECT doc FROM r WHERE kind = 'task' "
                "AND json_extract(doc, '$.status') = 'ACTIVE' ORDER BY rowid"
            )
            return [json.loads(row[0]) for row in rows]

    def clear(self) -> None:
        with self._lock:
            self._db.execute("DELETE FROM r")

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._lock:
            yield


class Faults:
    """What is to go wrong, and how often still."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._now: Document = {}

    def set(self, faults: Document) -> None:
        with self.changed:
            self._now.update(faults)
            self.changed.notify_all()

    def clear(self) -> None:
        with self.changed:
            self._now = {}

    def wait_for(self, holds: Callable[[], bool]) -> None:
        with self.changed:
            if not self.changed.wait_for(holds, WAIT_S):
                raise Refused(504, "Timeout", f"That did not become so within {WAIT_S} s")

    def now(self, name: str) -> Any:
        with self.changed:
            return self._now.get(name)

    def take(self, name: str) -> Any:
        """The fault, once less; it has a key ``times``."""
        with self.changed:
            fault = self._now.get(name)
            if not fault or fault["times"] <= 0:
                return None
            if fault.get("after"):
                fault["after"] -= 1
                return None
            fault["times"] -= 1
            return fault
