"""The store process of one node and namespace, which `ensure_running` starts as a module."""

from __future__ import annotations

import os
import resource
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from proxystore.host.memory import usable_nbytes
from proxystore.serving import Life
from proxystore_connectors_ucx._dial import shared_key
from proxystore_connectors_ucx._handshake import RefusedError, challenge
from proxystore_connectors_ucx._home import HomeWatch
from proxystore_connectors_ucx._network import listen, text_of, tune
from proxystore_connectors_ucx._pages import Pages
from proxystore_connectors_ucx._route import Route, Side
from proxystore_connectors_ucx._session import Session, Table
from proxystore_connectors_ucx._settings import Settings
from proxystore_connectors_ucx._strangers import Strangers
from proxystore_connectors_ucx._wire import VERSION, Code, Frame, Link, WireError

__all__ = ["StoreProcess"]

_HANDSHAKE_S = 5.0
_BACKLOG = 4096
_MAX_STRANGERS = 256
_KEPT_NBYTES = 1 << 30
_CHECK_S = 1.0
_MEMORY_SHARE = 4
_PAUSE_S = 0.05


class StoreProcess:
    """Accepts connections, each served by a thread, until nobody needs the objects any more."""

    def __init__(self, settings: Settings, life: Life) -> None:
        options = settings.options
        self._life, self._options = life, options
        max_nbytes = options.max_nbytes or usable_nbytes() // _MEMORY_SHARE
        self._table: Table = Table(repr(life.place), max_nbytes)
        self._others: list[socket.socket] = []
        self._pages = Pages(min(max_nbytes, _KEPT_NBYTES))
        self._strangers = Strangers(_MAX_STRANGERS)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._home = HomeWatch(options) if not life.is_home and options.address else None
        self._local = _listen_here(life)
        self._remote: socket.socket | None = None
        if settings.listen is not None:
            self._key = shared_key(options, repr(life.place))
            self._remote = self._listening(settings.listen)

    def _listening(self, address: str) -> socket.socket:
        try:
            return listen(address)
        except OSError as exc:
            reason = os.strerror(exc.errno) if exc.errno else exc
            advice = (
                "Give an address of this node and a port that nobody uses, or no port for any "
                "that is free."
            )
            self._life.fail(f"it cannot listen on {address} ({reason})", advice)

    def run(self) -> None:
        """Serve. Returns when this process is to end, and every file of it is gone."""
        with selectors.DefaultSelector() as ready:
            ready.register(self._local, selectors.EVENT_READ, self._welcome_local)
            if self._remote is not None:
                ready.register(self._remote, selectors.EVENT_READ, self._welcome_remote)
            ready.register(self._wake, selectors.EVENT_READ, self._clear_wake)
            address = "" if self._remote is None else text_of(self._remote)
            self._life.announce(address, VERSION)
            while True:
                for key, _ in ready.select(_CHECK_S):
                    key.data()
                if not self._goes_on() and self._life.end():
                    self._say_goodbye()
                    return

    def leave(self) -> None:
        """As `Host.leave`: look at once whether to go on."""
        os.eventfd_write(self._wake, 1)

    def stay(self, sock: socket.socket) -> None:
        """As `Host.stay`."""
        self._others.append(sock)

    def _say_goodbye(self) -> None:
        for sock in self._others:
            # Those that have gone meanwhile.
            with suppress(OSError):
                Link(sock).send(Frame(Code.LEAVE))

    def _goes_on(self) -> bool:
        self._table.sweep()
        if self._home is not None:
            return self._home.is_there()
        return self._life.goes_on(has_objects=self._table.totals().objects > 0)

    def _clear_wake(self) -> None:
        os.eventfd_read(self._wake)

    def _welcome_local(self) -> None:
        sock = _accept(self._local)
        # The directory is private already: this is against a mistake with its mode.
        if sock is not None and _peer_uid(sock) == os.geteuid():
            self._start(self._session(sock, Route(Side.STORE, None)).serve)
        elif sock is not None:
            sock.close()

    def _welcome_remote(self) -> None:
        assert self._remote is not None
        sock = _accept(self._remote)
        if sock is not None:
            self._strangers.add(sock)
            self._start(lambda: self._meet(sock))

    def _meet(self, sock: socket.socket) -> None:
        try:
            tune(sock)
            challenge(sock, self._key, self._life.instance, _HANDSHAKE_S)
            sock.settimeout(None)
        except (RefusedError, WireError, EOFError, OSError):
            sock.close()
            return
        finally:
            self._strangers.remove(sock)
        network = self._options.network(sock.getsockname()[0])
        self._session(sock, Route(Side.STORE, network)).serve()

    def _session(self, sock: socket.socket, route: Route) -> Session:
        return Session(sock, self._table, self._pages, route, self)

    @staticmethod
    def _start(serve: Callable[[], None]) -> None:
        threading.Thread(target=serve, daemon=True).start()


def _accept(listener: socket.socket) -> socket.socket | None:
    try:
        return listener.accept()[0]
    except OSError:
        # The client is gone again, or this process has no free descriptor: that ends when
        # some client goes, and meanwhile must not take a whole processor.
        time.sleep(_PAUSE_S)
        return None


def _listen_here(life: Life) -> socket.socket:
    # Named so that a key of another instance does not lead here.
    path = life.place.file(life.instance)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(path)
    except OSError as exc:
        life.fail(
            f"no socket can be made in {life.place.path} ({exc.strerror})",
            "Name another directory in PROXYSTORE_RUNTIME_DIR.",
        )
    # Hundreds of clients may come at once, and one that finds no place is refused.
    sock.listen(_BACKLOG)
    return sock


def _peer_uid(sock: socket.socket) -> int:
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


def main(arguments: list[str]) -> None:
    """Be a store process. ``arguments``: settings, directory, descriptor of the lock."""
    settings = Settings.parse(arguments[0])
    life = Life.begin("ucx", arguments[1], int(arguments[2]))
    # Each client has a descriptor, and some more for UCX.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    StoreProcess(settings, life).run()
    # Threads still serve clients, which see their connections end now.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
