"""What a store process is told when it is started."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Self

from proxystore_connectors_ucx._options import Options

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """Of which namespace, and where to listen. Holds no secret, only its reference."""

    options: Options
    listen: str | None = None
    """``host:port`` for other nodes, where port 0 takes a free one; `None` for none."""

    def encode(self) -> str:
        """This as text that `parse` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Self:
        """What `encode` wrote."""
        fields = json.loads(text)
        return cls(Options(**fields["options"]), fields["listen"])
