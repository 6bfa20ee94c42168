"""The directory in which programs of a user keep what outlives them."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["home"]


def home() -> Path:
    """``$PROXYSTORE_HOME``, else ``$XDG_DATA_HOME/proxystore``, else ``~/.local/share/proxystore``.

    Absolute. It need not exist: who writes there makes it, for the user alone (0700).
    """
    named = os.environ.get("PROXYSTORE_HOME")
    if named:
        return Path(named).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return (Path(data) / "proxystore").expanduser().absolute()
