"""The connector: a table of objects in one SQLite file."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self
from urllib.parse import quote, unquote, urlsplit

from proxystore.abc import Acknowledgement, Capability, Connector, Medium
from proxystore.connectors.keys import checked_id, fresh_id
from proxystore.connectors.options import check_options
from proxystore.errors import (
    ClosedError,
    ConfigError,
    ConnectorUnavailableError,
    KeyAlreadySetError,
    MediumFullError,
    MediumGoneError,
    NotOwnerError,
)
from proxystore.payload import Payload, as_bytes, payload_nbytes

_TIMEOUT_S = 10.0


class TemplateKey(NamedTuple):
    """Key of one object."""

    object_id: str


class TemplateConnector(Connector[TemplateKey]):
    """Keeps objects in an SQLite file on a local file system.

    The connector that makes the file owns it, and removes it on `close`.

    Args:
        path: The file. Made if it is not there; its folder must be.

    Raises:
        ConnectorUnavailableError: The file can be neither made nor opened.
    """

    key_type: ClassVar[type] = TemplateKey
    _owner_pid: int | None = None
    _closed = False

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).absolute()
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            pass
        except OSError as exc:
            raise ConnectorUnavailableError(
                str(self._path), exc.strerror or str(exc), "Name a file in a folder you can write."
            ) from exc
        else:
            self._owner_pid = os.getpid()
        with self._transaction() as db:
            db.execute("CREATE TABLE IF NOT EXISTS objects (id TEXT PRIMARY KEY, data BLOB)")

    # --- Objects --------------------------------------------------------------

    def put(self, payload: Payload) -> TemplateKey:
        return self.put_batch([payload])[0]

    def put_batch(self, payloads: Sequence[Payload]) -> list[TemplateKey]:
        """As `Connector.put_batch`; all are stored or none."""
        keys = [self.new_key() for _ in payloads]
        with self._transaction(sum(map(payload_nbytes, payloads))) as db:
            rows = zip((key.object_id for key in keys), map(as_bytes, payloads), strict=True)
            db.executemany("INSERT INTO objects VALUES (?, ?)", rows)
        return keys

    def get(self, key: TemplateKey) -> bytes | None:
        object_id = checked_id(key, TemplateKey)
        with self._transaction() as db:
            row = db.execute("SELECT data FROM objects WHERE id = ?", (object_id,)).fetchone()
        return row[0] if row else None

    def exists(self, key: TemplateKey) -> bool:
        object_id = checked_id(key, TemplateKey)
        with self._transaction() as db:
            row = db.execute("SELECT 1 FROM objects WHERE id = ?", (object_id,)).fetchone()
        return row is not None

    def evict(self, key: TemplateKey) -> None:
        object_id = checked_id(key, TemplateKey)
        with self._transaction() as db:
            db.execute("DELETE FROM objects WHERE id = ?", (object_id,))

    # --- Capability.DEFERRABLE ------------------------------------------------

    def new_key(self, object_id: str | None = None) -> TemplateKey:
        self._check_open()
        key = TemplateKey(fresh_id() if object_id is None else object_id)
        checked_id(key, TemplateKey)
        return key

    def set(self, key: TemplateKey, payload: Payload) -> None:
        row = (checked_id(key, TemplateKey), as_bytes(payload))
        with self._transaction(payload_nbytes(payload)) as db:
            try:
                db.execute("INSERT INTO objects VALUES (?, ?)", row)
            except sqlite3.IntegrityError as exc:
                raise KeyAlreadySetError(repr(key)) from exc

    # --- The medium -----------------------------------------------------------

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset({Capability.DEFERRABLE, Capability.CROSS_PROCESS})

    @property
    def medium(self) -> Medium:
        return Medium.DISK

    @property
    def acknowledges(self) -> Acknowledgement:
        return Acknowledgement.PROCESS

    @property
    def url(self) -> str:
        """``template:///absolute/path``; `from_url` makes an equal connector of it."""
        return f"template://{quote(str(self._path))}"

    @classmethod
    def from_url(cls, url: str) -> Self:
        """A connector to the file that ``url`` names. Never owns it.

        Raises:
            ConfigError: The path is not absolute, or something follows it.
        """
        parts = urlsplit(url)
        if parts.netloc or not parts.path.startswith("/") or parts.query or parts.fragment:
            raise ConfigError(f"URL {url!r}", "expected template:///absolute/path and no more")
        return cls.from_config({"path": unquote(parts.path)})

    def config(self) -> dict[str, Any]:
        return {"path": str(self._path)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        check_options("template", config, ("path",))
        if "path" not in config:
            raise ConfigError("configuration of connector 'template'", "it has no option 'path'")
        connector = cls.__new__(cls)
        connector._path = Path(config["path"])
        return connector

    def close(self, *, clear: bool | None = None) -> None:
        # A forked child has a copy of the object, and must not remove the file under its parent.
        owns = self._owner_pid == os.getpid()
        if clear and not owns:
            raise NotOwnerError(str(self._path))
        if owns and clear is not False and not self._closed:
            for suffix in ("", "-journal"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"The connector to {self._path}")

    @contextlib.contextmanager
    def _transaction(self, nbytes: int = 0) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are made together, or not at all if the body raises."""
        self._check_open()
        # One each time (0.1 ms): SQLite's connections belong to a thread and do not survive fork.
        with self._errors(nbytes):
            # mode=rw, for SQLite would otherwise make the file that somebody has removed.
            uri = f"{self._path.as_uri()}?mode=rw"
            connection = sqlite3.connect(uri, timeout=_TIMEOUT_S, uri=True)
            with contextlib.closing(connection) as db, db:
                # Survives kill -9 without it; the 5 ms of each fsync would buy loss of power.
                db.execute("PRAGMA synchronous = OFF")
                yield db

    @contextlib.contextmanager
    def _errors(self, nbytes: int) -> Iterator[None]:
        """What SQLite raises, as errors of `proxystore.errors`."""
        where = str(self._path)
        try:
            yield
        except (OverflowError, sqlite3.DataError) as exc:
            raise MediumFullError(where, nbytes, "SQLite takes objects up to 10^9 bytes.") from exc
        except sqlite3.Error as exc:
            code = getattr(exc, "sqlite_errorname", "")
            if code == "SQLITE_FULL":
                raise MediumFullError(where, nbytes, "Make room on its file system.") from exc
            if code == "SQLITE_CANTOPEN" and not self._path.exists():
                advice = "Keep its owner open until every proxy has been used."
                raise MediumGoneError(where, "the file is gone", advice) from exc
            advice = "See that the file is an SQLite database that you may write."
            raise ConnectorUnavailableError(where, str(exc), advice) from exc
