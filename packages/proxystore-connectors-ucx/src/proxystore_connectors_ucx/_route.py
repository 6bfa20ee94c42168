"""By which of its ways UCX is to go from one process to another."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Network", "Route", "Side"]

# All that lead to other nodes: with that to itself UCX would start where it finds no device.
_BETWEEN_NODES = "^sm,self"
_DEVICE_MEMORY = "cuda_copy"


class Side(enum.Enum):
    """Which side of a connection this process is. Clients do the copying, for there are many."""

    CLIENT = "get_zcopy"
    STORE = "put_zcopy"


@dataclass(frozen=True)
class Network:
    """How UCX goes between nodes."""

    transports: str | None = None
    """As UCX takes them in ``UCX_TLS``; `None` for all but shared memory."""
    devices: str | None = None
    """As UCX takes them in ``UCX_NET_DEVICES``; `None` for all of them."""

    def __str__(self) -> str:
        given = {"transports": self.transports, "devices": self.devices}
        return ", ".join(f"{name}={value!r}" for name, value in given.items() if value)


@dataclass(frozen=True)
class Route:
    """What a UCX context is made for."""

    side: Side
    network: Network | None
    """How to reach the other node; `None` for shared memory."""
    from_device: bool = False
    """Whether objects are in the memory of a GPU."""

    def __str__(self) -> str:
        if self.network is None:
            return "shared memory"
        return str(self.network) or "any transport"

    def settings(self) -> dict[str, str]:
        """This, as a UCX context takes it."""
        # Rendezvous: eager messages would be copied twice.
        settings = {"RNDV_THRESH": "32768", "TLS": self._transports()}
        if self.network is None:
            # Without these two a peer that is killed in the middle of a transfer takes this
            # process with it (ADR 0004).
            settings |= {"POSIX_ERROR_HANDLING": "y", "CMA_MEMORY_INVALIDATE": "y"}
            settings["RNDV_SCHEME"] = self.side.value
        elif self.network.devices is not None:
            settings["NET_DEVICES"] = self.network.devices
        return settings

    def _transports(self) -> str:
        network = self.network
        named = "posix,cma" if network is None else network.transports or _BETWEEN_NODES
        # What is named with ^ is left out, and all else is in.
        is_missing = self.from_device and not named.startswith("^")
        return f"{named},{_DEVICE_MEMORY}" if is_missing else named
