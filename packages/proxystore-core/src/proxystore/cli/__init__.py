"""`proxystore` on the command line."""

from __future__ import annotations

from proxystore.cli._main import main

__all__ = ["main"]
