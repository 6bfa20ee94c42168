"""What connectors to a directory have in common: its address, and who owns it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from proxystore.abc import Connector, KeyT, Medium
from proxystore.connectors._file.address import Address
from proxystore.connectors._file.attachment import Attachment

__all__ = ["AddressedConnector"]


class AddressedConnector(Connector[KeyT]):
    """A connector to the objects of a directory."""

    scheme: ClassVar[str]
    """Of its URLs."""

    def _set_up(self, attachment: Attachment) -> None:
        """Begin with ``attachment``."""
        self._attachment = attachment

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    @property
    def url(self) -> str:
        """The canonical URL, from which `from_url` makes an equal connector elsewhere."""
        return self._attachment.address.to_url()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """A connector to the directory that ``url`` names, which it does not own.

        Opens nothing: an absent directory shows on first use.

        Raises:
            ConfigError: ``url`` is not ``scheme:///directory``, or names an unknown option.
        """
        return cls._attached(Address.from_url(url, cls.scheme))

    def config(self) -> dict[str, Any]:
        return self._attachment.address.to_config()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """As `Connector.from_config`. Opens nothing: an absent directory shows on first use.

        Raises:
            ConfigError: An option has an unknown name or a wrong value.
        """
        return cls._attached(Address.from_config(config, cls.scheme))

    @classmethod
    def _attached(cls, address: Address) -> Self:
        made = cls.__new__(cls)
        made._set_up(Attachment(address.completed()))
        return made

    @property
    def medium(self) -> Medium:
        on_disk = self._attachment.address.node is None
        return Medium.DISK if on_disk else Medium.SHARED_MEMORY

    @property
    def is_owner(self) -> bool:
        """Whether this connector owns its directory, in this process."""
        return self._attachment.is_owner

    def close(self, *, clear: bool | None = None) -> None:
        """As `Connector.close`. Only an owner clears, by default unless made with clear=False."""
        self._attachment.close(clear=clear)
        self._let_go()

    @abstractmethod
    def _let_go(self) -> None:
        """Keep nothing of a directory that is closed or gone: it would take memory."""
