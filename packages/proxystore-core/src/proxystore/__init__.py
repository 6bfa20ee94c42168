"""Pass data by reference across processes, clusters and sites."""

from __future__ import annotations

from proxystore._marker import MARK as _MARK
from proxystore._marker import __version__

__all__ = ["_MARK", "__version__"]
