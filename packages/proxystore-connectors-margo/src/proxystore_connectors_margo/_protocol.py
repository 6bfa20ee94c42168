"""The transports of Mercury that an engine can use."""

from __future__ import annotations

import enum

from proxystore.errors import ConfigError, nearest_name

__all__ = ["Protocol"]


class Protocol(enum.Enum):
    """How the bytes travel. Which of them work, Mercury's build says (``hg_info``)."""

    SM_SHM = "na+sm"
    """Shared memory of one node, open to processes of the same user only."""
    TCP = "tcp"
    """Whatever Mercury prefers for TCP."""
    OFI_TCP = "ofi+tcp"
    OFI_VERBS = "ofi+verbs"
    OFI_CXI = "ofi+cxi"
    OFI_GNI = "ofi+gni"
    UCX_TCP = "ucx+tcp"
    UCX_VERBS = "ucx+verbs"

    @classmethod
    def named(cls, name: Protocol | str) -> Protocol:
        """The protocol that ``name`` is, or names: ``"ofi+tcp"`` or ``"OFI_TCP"``.

        Raises:
            ConfigError: There is none of that name.
        """
        if isinstance(name, cls):
            return name
        for protocol in cls:
            if name in {protocol.value, protocol.name}:
                return protocol
        known = tuple(protocol.value for protocol in cls)
        asked = f"option protocol={name!r} of connector 'margo'"
        raise ConfigError(asked, "there is no such protocol", nearest_name(str(name), known), known)

    @property
    def crosses_nodes(self) -> bool:
        """Whether processes of other nodes can be reached."""
        return self is not Protocol.SM_SHM

    @property
    def has_loopback(self) -> bool:
        """Whether it can be used without the name of an address or interface."""
        return self in _LOOPBACK

    def calling(self, host: str | None) -> str:
        """What an engine is given that only calls, from ``host`` if it is told."""
        return f"{self.value}://{host}" if host and self.crosses_nodes else self.value

    def listening(self, host: str | None, port: int | None) -> str:
        """What an engine is given to listen on ``host``, or loopback, and ``port``, or any."""
        if not self.crosses_nodes:
            return self.value
        return self.calling(host or "127.0.0.1") + (f":{port}" if port else "")


_LOOPBACK = frozenset({Protocol.SM_SHM, Protocol.TCP, Protocol.OFI_TCP, Protocol.UCX_TCP})
