"""How a store process is started."""

from __future__ import annotations

import json
from typing import NamedTuple, Self

__all__ = ["Options", "command"]


class Options(NamedTuple):
    """What a store process is told when it starts."""

    max_nbytes: int | None = None
    """`None` for a quarter of the memory of the node."""
    host: str | None = None
    """Where to listen for other nodes; `None` for nowhere."""
    port: int = 0
    """0 for any that is free."""
    secret: str | None = None
    home: str | None = None
    """The process on the owner's node, for those on others."""

    def encode(self) -> str:
        """As one argument of a command."""
        return json.dumps(self._asdict())

    @classmethod
    def parse(cls, text: str) -> Self:
        """What `encode` gave."""
        return cls(**json.loads(text))


def command(options: Options) -> tuple[str, ...]:
    """What `proxystore.serving.ensure_running` starts."""
    return "-m", "proxystore_connectors_zmq._server", options.encode()
