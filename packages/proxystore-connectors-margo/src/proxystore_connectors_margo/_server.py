"""The store process of a node: ``python -m proxystore_connectors_margo._server``.

Arguments: the engine to listen with and that to call with, how many bytes to keep, the
address of the home (empty on the owner's node), and what `ensure_running` adds.
"""

from __future__ import annotations

import sys
import time

from proxystore.errors import ConnectorUnavailableError
from proxystore.serving import Life, ObjectTable
from proxystore_connectors_margo._client import Client
from proxystore_connectors_margo._library import Library
from proxystore_connectors_margo._messages import RPC_NAME, VERSION, Op, Word
from proxystore_connectors_margo._service import Service, Stored

__all__ = ["Home", "main"]

_CHECK_SECONDS = 1.0
_HOME_TIMEOUT = 2.0
# It serves one request at a time, and one may be of gigabytes.
_PATIENCE_SECONDS = 30.0


class Home:
    """The store process of the owner's node, seen from another node.

    Args:
        engine: What an engine is given to call it.
        address: Where it is.
        namespace: That it is the home of.
        patience: Seconds without an answer after which it is given up.
    """

    def __init__(
        self, engine: str, address: str, namespace: str, *, patience: float = _PATIENCE_SECONDS
    ) -> None:
        self._address, self._namespace, self._patience = address, namespace, patience
        where = "the owner's store process"
        # Nothing on this node knows of another one's processes.
        self._client = Client(engine, where, _HOME_TIMEOUT, lambda _: False)
        self._heard = time.monotonic()

    def lives(self) -> bool:
        """Whether it says so, or did when it was last heard, not long ago."""
        try:
            (word, *_) = self._client.call(self._address, Op.LIVES, self._namespace)
        except ConnectorUnavailableError:
            return time.monotonic() - self._heard < self._patience
        self._heard = time.monotonic()
        return word is Word.OK


def _goes_on(life: Life, home: Home | None, service: Service) -> bool:
    if home is not None:
        return home.lives()
    return life.goes_on(has_objects=service.has_objects)


def main(
    listening: str, calling: str, max_nbytes: str, home_address: str, path: str, lock_fd: str
) -> None:
    """Serve until the owner is gone. In this thread, so that no two handlers interleave."""
    life = Life.begin("margo", path, int(lock_fd))
    library = Library.load("the store process")
    # A thread of its own for handlers: this one is in Python, and not in Margo's loop.
    engine = library.engine(listening, library.server, use_progress_thread=True, num_rpc_threads=1)
    table: ObjectTable[Stored] = ObjectTable(repr(life.place), int(max_nbytes))
    service = Service(library, engine, table, life.place.namespace)
    engine.register(RPC_NAME, service.receive)
    life.announce(str(engine.address), VERSION)
    home = Home(calling, home_address, life.place.namespace) if home_address else None
    while True:
        closed = service.work(_CHECK_SECONDS)
        if (closed or life.is_due()) and not _goes_on(life, home, service) and life.end():
            break
    service.close()
    engine.finalize()


if __name__ == "__main__":
    main(*sys.argv[1:])
