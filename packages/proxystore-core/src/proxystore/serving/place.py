"""Where the store process of one node and namespace has its files, and who owns the namespace."""

from __future__ import annotations

import enum
import json
import os
import re
import tempfile
import time
from contextlib import suppress
from typing import NamedTuple, Self

from proxystore.directories import open_checked
from proxystore.errors import ConfigError, ConnectorUnavailableError, UnsafeDirectoryError
from proxystore.host.forks import no_fork, remake_in_child
from proxystore.host.locks import lock, try_lock, unlock

__all__ = [
    "SOCKET_NBYTES",
    "Announcement",
    "Owner",
    "Place",
    "is_linked",
    "runtime_directory",
]

SOCKET_NBYTES = 12
"""Length that the name of a socket in a place may have."""

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - what is made there is private and checked
_matches = re.compile(r"[A-Za-z0-9_-]{1,40}").fullmatch
# unix(7): 108 bytes, of which one ends the path.
_MAX_SOCKET_PATH = 107
_POLL_SECONDS = 0.002
# Longer than a look whether the owner lives, which takes the lock for a moment.
_PROBE_SECONDS = 0.005
_OPEN_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def runtime_directory() -> str:
    """Where the store processes of this user on this node have their files.

    ``$PROXYSTORE_RUNTIME_DIR``, for containers that share one; else a directory in
    shared memory, else in that for temporary files. Each user has one of their own.
    """
    named = os.environ.get("PROXYSTORE_RUNTIME_DIR")
    if named:
        return os.path.abspath(named)
    usable = os.access(_SHARED_MEMORY, os.W_OK | os.X_OK)
    parent = _SHARED_MEMORY if usable else tempfile.gettempdir()
    return os.path.join(parent, f"proxystore-serving-{os.geteuid()}")


class Owner(enum.Enum):
    """What can have become of the owner of a namespace."""

    LIVES = "lives"
    LEFT = "left its objects to others"
    GONE = "is gone, or on another node"


class Announcement(NamedTuple):
    """What a store process says of itself once it can be reached."""

    instance: str
    """Made anew by each process: objects of another one are not there."""
    pid: int
    protocol: int
    """Version of what it speaks."""
    node: str
    """The `proxystore.host.node.Node` it runs on, as text."""
    address: str
    """Where to reach it, as its transport writes that."""

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """What `encode` wrote.

        Raises:
            ValueError: It is something else.
        """
        try:
            return cls(**json.loads(text))
        except TypeError as exc:
            raise ValueError(str(exc)) from exc

    def encode(self) -> bytes:
        """This as bytes that `parse` reads."""
        return json.dumps(self._asdict()).encode()


class Place:
    """The directory of one namespace on this node, private to the user. Thread safe.

    It has the locks of the owner and of the store process, the log of the latter
    and whatever sockets it opens. Opens and makes nothing until it is asked to.

    Args:
        kind: Of the connector.
        namespace: 1 to 40 characters of ``[A-Za-z0-9_-]``.

    Raises:
        ConfigError: ``namespace`` has other characters or length, or no socket can
            have a path in the directory, which is too long.
    """

    def __init__(self, kind: str, namespace: str) -> None:
        # Before any use: '../x' would leave the directory.
        if type(namespace) is not str or _matches(namespace) is None:
            raise ConfigError(
                f"namespace {namespace!r} of connector {kind!r}",
                "it takes 1 to 40 characters of A-Z, a-z, 0-9, '_' and '-'",
            )
        self.kind, self.namespace = kind, namespace
        self.path = os.path.join(runtime_directory(), f"{kind}-{namespace}")
        _check_length(self.path)
        self._owner_fds: list[int] = []
        remake_in_child(self)

    def __repr__(self) -> str:
        return f"store process {self.kind}/{self.namespace}"

    def __del__(self) -> None:
        self.disown()

    @property
    def is_owner(self) -> bool:
        """Whether this object owns the namespace, in this process."""
        return bool(self._owner_fds)

    def remade_in_child(self) -> None:
        """Disown: the child's copy of the lock would outlive the owner."""
        self.disown()

    def file(self, name: str) -> str:
        """The path of a file in the directory."""
        return os.path.join(self.path, name)

    def make(self) -> None:
        """Make the directory, if there is none, and check it.

        Raises:
            UnsafeDirectoryError: It, or the one around it, is a link or not private.
            ConnectorUnavailableError: The system refused.
        """
        root = os.path.dirname(self.path)
        try:
            os.makedirs(root, mode=0o700, exist_ok=True)
            os.close(open_checked(root))
            with suppress(FileExistsError):
                os.mkdir(self.path, 0o700)
            # A store process that ends may remove it just now: the caller asks again.
            with suppress(FileNotFoundError):
                os.close(open_checked(self.path))
        except UnsafeDirectoryError:
            raise
        except OSError as error:
            raise ConnectorUnavailableError(
                f"directory {self.path}",
                error.strerror or str(error),
                "Name another one in PROXYSTORE_RUNTIME_DIR.",
            ) from error

    # --- The owner --------------------------------------------------------------

    def own(self, *, adopt: bool = False, timeout: float = 10.0) -> bool:
        """Own the namespace, if nobody does.

        One that its owner left to others with ``disown(keep=True)``, and whose
        store process runs, is owned only with ``adopt``.

        Returns:
            Whether this object owns it now.

        Raises:
            UnsafeDirectoryError: As for `make`.
            ConnectorUnavailableError: As for `make`; or its owner has died, and its
                store process has not ended within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            self.make()
            with suppress(FileNotFoundError):
                # A child forked between the lock and `_owner_fds` would keep it from ever ending.
                with no_fork():
                    owns = self._try_own(adopt=adopt)
                if owns is not None:
                    return owns
            if time.monotonic() > deadline:
                raise self._never_ended(timeout)
            time.sleep(_POLL_SECONDS)

    def _never_ended(self, timeout: float) -> ConnectorUnavailableError:
        found = self.announced()
        process = f"process {found.pid}" if found else f"who has locked {self.file('lock')}"
        return ConnectorUnavailableError(
            repr(self),
            f"its owner has let go of it, and it has not ended within {timeout:g} s",
            f"End {process}, which may be stopped, or use another namespace.",
        )

    def _try_own(self, *, adopt: bool) -> bool | None:
        """As `own`; `None` where the answer is not clear yet."""
        if self.is_owner:
            return True
        fd = os.open(self.file("owner"), _OPEN_LOCK, 0o600)
        try:
            locked = _locked(fd)
            if not is_linked(fd):
                return None
            if not locked:
                return False
            if adopt or not self.is_served():
                with suppress(FileNotFoundError):
                    os.unlink(self.file("kept"))
                self._owner_fds.append(fd)
                fd = -1
                return True
            # Explicitly: a child forked meanwhile would keep it.
            unlock(fd)
            return False if os.path.exists(self.file("kept")) else None
        finally:
            if fd >= 0:
                os.close(fd)

    def disown(self, *, keep: bool = False) -> None:
        """Let go of the namespace. Does nothing for who does not own it.

        Args:
            keep: Have the store process go on without an owner for as long as it has
                objects. Otherwise it ends.
        """
        if not getattr(self, "_owner_fds", None):
            return
        if keep:
            with suppress(FileNotFoundError):
                os.close(os.open(self.file("kept"), _OPEN_LOCK, 0o600))
        with no_fork(), suppress(IndexError):
            os.close(self._owner_fds.pop())

    def owner(self) -> Owner:
        """What has become of the owner, as far as this node knows. Costs some 10 us."""
        if not _is_free(self.file("owner")):
            return Owner.LIVES
        return Owner.LEFT if os.path.exists(self.file("kept")) else Owner.GONE

    def clear(self) -> None:
        """Remove the directory, if no store process runs that would. For who owned it."""
        with suppress(FileNotFoundError):
            fd = os.open(self.file("lock"), _OPEN_LOCK, 0o600)
            try:
                if try_lock(fd):
                    self.remove()
            finally:
                # With no explicit unlock: another process may not start between the two.
                os.close(fd)

    # --- The store process ------------------------------------------------------

    def is_served(self) -> bool:
        """Whether a store process runs here, or begins or ends to."""
        return not _is_free(self.file("lock"))

    def announced(self) -> Announcement | None:
        """What the store process that runs here says of itself, if there is one.

        Raises:
            UnsafeDirectoryError: The directory is a link or not private.
        """
        try:
            os.close(open_checked(self.path))
            if not self.is_served():
                return None
            with open(self.file("address"), "rb") as file:
                return Announcement.parse(file.read())
        except (FileNotFoundError, ValueError):
            return None

    def remove(self) -> None:
        """Remove every file, and the directory. For who holds the lock of the store process."""
        with suppress(FileNotFoundError):
            self.remove_remains()
            # The locks last: what they guard has to be gone.
            for name in ("kept", "log", "owner", "lock"):
                with suppress(FileNotFoundError):
                    os.unlink(self.file(name))
            os.rmdir(self.path)

    def remove_remains(self) -> None:
        """Remove what a store process made. For who holds its lock."""
        for name in os.listdir(self.path):
            if name not in {"kept", "lock", "log", "owner"}:
                os.unlink(self.file(name))


def is_linked(fd: int) -> bool:
    """Whether an open file has not been removed."""
    return os.fstat(fd).st_nlink > 0


def _check_length(path: str) -> None:
    excess = len(os.fsencode(path)) + 1 + SOCKET_NBYTES - _MAX_SOCKET_PATH
    if excess > 0:
        raise ConfigError(
            f"directory {path}",
            f"its path is {excess} bytes too long for a socket in it: name a shorter one in "
            f"PROXYSTORE_RUNTIME_DIR, or a shorter namespace",
        )


def _is_free(path: str) -> bool:
    """Whether nobody has locked the file, or there is none."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        free = try_lock(fd, shared=True)
        if free:
            unlock(fd)
    finally:
        os.close(fd)
    return free


def _locked(fd: int) -> bool:
    try:
        lock(fd, _PROBE_SECONDS)
    except TimeoutError:
        return False
    return True
