"""A stand-in for mochi.margo, where no Mochi is: the documented API, on unix sockets.

https://mochi.readthedocs.io/en/latest/pymargo.html says what an engine does. As there,
arguments and answers of an RPC are pickled and unpickled, Bulk handles among them; an
RPC that raises is never answered; `timeout` is in milliseconds; a buffer is exposed for
reading, writing or both, within its bounds; an address that nobody has is not found.
An engine does not come through a fork. Sockets are in $MOCHI_FAKE_ROOT, and
the protocol in $MOCHI_FAKE_WITHOUT is not built in.
"""

from __future__ import annotations

from mochi.margo import bulk, core
from mochi.margo.core import Address, Engine, Handle, client, server

IS_FAKE = True

__all__ = ["IS_FAKE", "Address", "Engine", "Handle", "bulk", "client", "core", "server"]
