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

    def listening(self, host: str | None, port: int | None) -> str:
        """What an engine is given to listen there.

        Args:
            host: Address or name of a network interface; `None` is loopback.
            port: `None` is any.

        Raises:
            ConfigError: The protocol has no loopback, and no host was named.
        """
        if not self.crosses_nodes:
            return self.value
        if host is None and self not in _LOOPBACK:
            raise ConfigError(
                f"option protocol={self.value!r} of connector 'margo'",
                "it has no loopback: name the address= or interface= of its fabric. Whoever "
                "reaches that port can run code in the store process (see the README)",
            )
        return f"{self.value}://{host or '127.0.0.1'}" + (f":{port}" if port else "")


_LOOPBACK = frozenset({Protocol.TCP, Protocol.OFI_TCP, Protocol.UCX_TCP})
