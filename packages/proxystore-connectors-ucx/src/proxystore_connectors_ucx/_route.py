"""By which of its ways UCX is to go from one process to another."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["SHARED_MEMORY", "Network", "Route", "Side"]

SHARED_MEMORY = "sm"
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


@dataclass(frozen=True)
class Route:
    """What a UCX context is made for."""

    side: Side
    network: Network | None
    """How to reach the other node; `None` for shared memory."""
    from_device: bool = False
    """Whether objects are in the memory of a GPU."""

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
        if self.network is None:
            named = "posix,cma"
        else:
            named = self.network.transports or f"^{SHARED_MEMORY}"
        # What is named with ^ is left out, and all else is in.
        is_missing = self.from_device and not named.startswith("^")
        return f"{named},{_DEVICE_MEMORY}" if is_missing else named
