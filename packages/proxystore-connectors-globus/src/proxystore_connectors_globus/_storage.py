"""Where tokens are kept: one file for each client, readable by its user alone."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from globus_sdk.token_storage import TokenStorage, TokenStorageData

from proxystore.errors import ConfigError, SecretNotFoundError
from proxystore.host.home import home
from proxystore.host.locks import lock, unlock
from proxystore.secrets import read_secret

__all__ = ["PrivateTokenStorage"]

_LOCK_TIMEOUT_S = 10.0


class PrivateTokenStorage(TokenStorage):
    """Tokens of one client, in a file of mode 0600 that is replaced and never changed.

    The storages of the SDK change the umask of the whole process while they
    write, or belong to one thread, and a reader can meet half a file. Safe to
    use from several threads and processes.

    Args:
        client_id: Of the client, whose file is ``globus/ID.json`` in
            `proxystore.host.home.home`.
    """

    def __init__(self, client_id: str) -> None:
        super().__init__()
        self.path = home() / "globus" / f"{client_id}.json"
        """The file; nothing is made before tokens are stored."""

    def get_token_data_by_resource_server(self) -> dict[str, TokenStorageData]:
        """As `TokenStorage`.

        Raises:
            UnsafeSecretError: Others can read or replace the file.
            ConfigError: It does not hold tokens.
        """
        try:
            text = read_secret(f"file:{self.path}", "the Globus login")
        except SecretNotFoundError:
            return {}
        try:
            return {name: TokenStorageData.from_dict(d) for name, d in json.loads(text).items()}
        except (ValueError, TypeError, AttributeError) as exc:
            found = "it holds no tokens; remove it and log in again"
            raise ConfigError(f"file {str(self.path)!r}", found) from exc

    def store_token_data_by_resource_server(
        self, token_data_by_resource_server: Mapping[str, TokenStorageData]
    ) -> None:
        """As `TokenStorage`. Those of other resource servers stay."""
        with self._changing():
            self._write(
                self.get_token_data_by_resource_server() | dict(token_data_by_resource_server)
            )

    def remove_token_data(self, resource_server: str) -> bool:
        """As `TokenStorage`. The file goes with the last token."""
        with self._changing():
            tokens = self.get_token_data_by_resource_server()
            found = tokens.pop(resource_server, None) is not None
            if tokens:
                self._write(tokens)
            else:
                self.path.unlink(missing_ok=True)
        return found

    @contextmanager
    def _changing(self) -> Iterator[None]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A file beside it, for it is replaced; never removed, for others may wait on it.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self.path.with_suffix(".lock"), flags, 0o600)
        try:
            lock(fd, _LOCK_TIMEOUT_S)
            try:
                yield
            finally:
                unlock(fd)
        finally:
            os.close(fd)

    def _write(self, tokens: Mapping[str, TokenStorageData]) -> None:
        # Any: plain values, as the SDK has them.
        plain: dict[str, Any] = {name: data.to_dict() for name, data in tokens.items()}
        descriptor, draft = tempfile.mkstemp(dir=self.path.parent, prefix=".draft-")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump(plain, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, self.path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
