"""A connector's hold on its directory: opened on first use, left when it is gone, closed once."""

from __future__ import annotations

from proxystore.connectors._file.address import Address
from proxystore.connectors._file.directory import Directory
from proxystore.connectors._file.failures import explained
from proxystore.errors import ClosedError, NotOwnerError, ObjectOnOtherHostError
from proxystore.host.node import this_node

__all__ = ["Attachment"]


class Attachment:
    """The directory at an address, until it is closed. Thread safe.

    Args:
        address: Where the directory is.
        directory: It, if it is open; otherwise it is opened on first use.
        clear: Whether `close` clears a directory that is owned.
    """

    def __init__(
        self, address: Address, directory: Directory | None = None, *, clear: bool = False
    ) -> None:
        self.address = address
        self._directory = directory
        self._clear = clear
        self._closed = False

    @property
    def is_owner(self) -> bool:
        """Whether the directory is owned, in this process."""
        return self._directory is not None and self._directory.is_owner

    def directory(self) -> Directory:
        """The open directory.

        Raises:
            ClosedError: `close` was called.
            ObjectOnOtherHostError: It is in the memory of another host.
            MediumGoneError: There is none.
            UnsafeDirectoryError: It is a link, not a directory, or others can write to it.
            ConnectorUnavailableError: The system refused.
        """
        return self._directory or self._attach()

    def leave(self) -> bool:
        """Let go of a directory that is gone, so that the next use finds the one made anew.

        Returns:
            Whether there was one to let go of: an owner keeps what it made.
        """
        if self._directory is None or self.is_owner:
            return False
        self._directory = None
        return True

    def close(self, *, clear: bool | None) -> None:
        """Let go for good. Only an owner made with ``clear=True`` clears by default. Idempotent.

        Raises:
            NotOwnerError: ``clear`` was asked and the directory is not owned.
            ConnectorUnavailableError: It could not be cleared.
        """
        if self._closed:
            return
        directory, is_owner = self._directory, self.is_owner
        if clear and not is_owner:
            raise NotOwnerError(self.address.path)
        self._closed = True
        self._directory = None
        if directory is None:
            return
        try:
            if is_owner and (self._clear if clear is None else clear):
                directory.clear()
        except OSError as error:
            raise explained(error, directory.path) from error
        finally:
            directory.disown()

    def require_open(self) -> None:
        """Return unless `close` was called.

        Raises:
            ClosedError: It was.
        """
        if self._closed:
            raise ClosedError(f"Connector {self.address.to_url()}")

    def _attach(self) -> Directory:
        self.require_open()
        node = self.address.node
        if node is not None and not node.is_here():
            where = f"shared memory ({self.address.path})"
            raise ObjectOnOtherHostError(where, str(node), str(this_node()))
        directory = Directory.attach(self.address.path)
        self._directory = directory
        try:
            # Another thread may have closed it meanwhile, and saw nothing to let go of.
            self.require_open()
        except ClosedError:
            self._directory = None
            raise
        return directory
