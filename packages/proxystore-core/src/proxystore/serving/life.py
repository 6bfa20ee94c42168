"""`Life`: how a store process begins, says that it is there, and knows when to end."""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
import time
from contextlib import suppress
from typing import NoReturn, Self

from proxystore.host.locks import try_lock
from proxystore.host.node import this_node
from proxystore.serving.place import Announcement, Owner, Place

__all__ = ["Life"]

_CHECK_SECONDS = 1.0


class Life:
    """The life of this process as the store process of a place. For one thread.

    On the node of the owner it ends when the owner has let go, by closing or by
    dying; if the owner left the objects to others, when there are none any more.
    On other nodes its transport must ask the process on the owner's, its home.

    Made by `begin`.
    """

    def __init__(self, place: Place, lock_fd: int) -> None:
        self.place = place
        self.instance = base64.urlsafe_b64encode(os.urandom(6)).decode("ascii")
        self.is_home = os.path.exists(place.file("owner"))
        """Whether the owner is on this node."""
        self._lock_fd = lock_fd
        self._next_check = time.monotonic() + _CHECK_SECONDS

    @classmethod
    def begin(cls, kind: str, path: str, lock_fd: int) -> Self:
        """Detach, so that who started this process can end. Call before there are threads.

        Args:
            kind: Of the connector.
            path: What `ensure_running` gave as the last argument but one.
            lock_fd: And as the last.
        """
        if os.fork():
            os._exit(0)
        os.set_inheritable(lock_fd, False)  # noqa: FBT003 - the signature of os
        os.umask(0o077)
        os.chdir("/")
        root, _, name = path.rpartition("/")
        os.environ["PROXYSTORE_RUNTIME_DIR"] = root
        return cls(Place(kind, name.removeprefix(f"{kind}-")), lock_fd)

    def announce(self, address: str, protocol: int) -> None:
        """Tell those that wait where this process can be reached, all at once."""
        said = Announcement(self.instance, os.getpid(), protocol, str(this_node()), address)
        fd, draft = tempfile.mkstemp(dir=self.place.path, prefix="draft-")
        with open(fd, "wb") as file:
            file.write(said.encode())
        os.replace(draft, self.place.file("address"))

    def fail(self, found: str, advice: str) -> NoReturn:
        """End, before `announce`, and have those that wait raise `ConnectorUnavailableError`.

        Args:
            found: Why this process cannot serve, a clause for users.
            advice: What they can do, a full sentence.
        """
        with open(self.place.file("failure"), "w", encoding="utf-8") as file:
            json.dump([found, advice], file)
        sys.exit(1)

    def is_due(self) -> bool:
        """Whether it is time again, as once a second, to ask whether to go on."""
        now = time.monotonic()
        if now < self._next_check:
            return False
        self._next_check = now + _CHECK_SECONDS
        return True

    def goes_on(self, *, has_objects: bool) -> bool:
        """Whether the owner on this node lives, or left objects to others that still are.

        Costs some 10 us. Asked when `is_due`, and when the owner says that it closed.
        """
        owner = self.place.owner()
        return owner is Owner.LIVES or (owner is Owner.LEFT and has_objects)

    def end(self) -> bool:
        """Remove every file of this process, so that the next one begins anew.

        Returns:
            Whether the process is to end: it goes on if somebody adopts it just now.
        """
        if self.is_home:
            with suppress(FileNotFoundError):
                fd = os.open(self.place.file("owner"), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
                # Not closed: the lock ends with the process, after the files.
                if not try_lock(fd):
                    os.close(fd)
                    return False
        self.place.remove()
        return True
