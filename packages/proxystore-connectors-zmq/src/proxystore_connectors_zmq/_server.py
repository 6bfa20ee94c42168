"""The store process: ``python -m proxystore_connectors_zmq._server OPTIONS DIRECTORY LOCK``.

The rest of the package does not import this module, which is what it starts.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence

import zmq

from proxystore.host.memory import usable_nbytes
from proxystore.payload import BytesLike
from proxystore.serving import Life, ObjectTable
from proxystore.serving.addresses import join_address
from proxystore_connectors_zmq._curve import Keys, guard
from proxystore_connectors_zmq._home import Home
from proxystore_connectors_zmq._options import Options
from proxystore_connectors_zmq._reads import Pieces
from proxystore_connectors_zmq._service import Service
from proxystore_connectors_zmq._wire import CHUNK_NBYTES, PROTOCOL, Reply, where_of

_TICK_MS = 500
_PAUSE_MS = 2
_FAREWELL_MS = 500
_MEMORY_SHARE = 4
# Hundreds of clients may come at once, and one that finds no place takes us for dead.
_BACKLOG = 4096
_QUEUED_MESSAGES = 8
_SMALL_REPLIES = 512
_SLACK_NBYTES = 1 << 16
_HEARTBEAT_MS = 5000


class Server:
    """The sockets of a store process.

    Clients on this node come by a socket file, others by an encrypted port: of
    one zmq socket, whose options hold for what is bound after they were set.
    """

    def __init__(self, life: Life, options: Options) -> None:
        self._life, self._options = life, options
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.rcvtimeo = _TICK_MS
        # Of the others `Reads` keeps count. One too many is dropped, which happens to
        # nobody who reads.
        self._socket.sndhwm = _SMALL_REPLIES
        # So that it can: of what zmq copies, it tells no end.
        self._socket.copy_threshold = 0
        self._socket.rcvhwm = _QUEUED_MESSAGES
        self._socket.linger = _FAREWELL_MS
        self._socket.backlog = _BACKLOG
        self._socket.maxmsgsize = CHUNK_NBYTES + _SLACK_NBYTES
        self._socket.bind(f"ipc://{life.place.file(life.instance)}")
        self._home: Home | None = None
        address = self._listen(options) if options.host is not None else ""
        self._table = ObjectTable[Pieces](
            f"{life.place!r} of this node", options.max_nbytes or usable_nbytes() // _MEMORY_SHARE
        )
        names = {life.instance, *([life.place.namespace] if life.is_home else [])}
        where = where_of(life.instance, address)
        self._service = Service(self._table, frozenset(names), where, self._send)
        life.announce(address, PROTOCOL)

    def _listen(self, options: Options) -> str:
        """Open the port, and give its address."""
        keys = Keys.read(options.secret or "", repr(self._life.place))
        guard(self._context, keys)
        keys.serve(self._socket)
        self._socket.heartbeat_ivl = _HEARTBEAT_MS
        self._socket.heartbeat_timeout = 3 * _HEARTBEAT_MS
        asked = join_address(options.host or "", options.port or "*")
        self._socket.ipv6 = "[" in asked
        try:
            self._socket.bind(f"tcp://{asked}")
        except zmq.ZMQError as error:
            self._life.fail(
                f"it cannot listen on {asked} ({zmq.strerror(error.errno or 0)})",
                "Give an address of this node and a port that nobody uses, or no port for any "
                "that is free.",
            )
        if options.home is not None:
            self._home = Home(self._context, options.home, self._life.place.namespace, keys)
        return str(self._socket.get_string(zmq.LAST_ENDPOINT)).removeprefix("tcp://")

    def run(self) -> None:
        """Serve until the owner is gone."""
        while not self._has_ended():
            try:
                frames = [self._receive()]
            except zmq.Again:
                continue
            # Not recv_multipart: it asks the socket for what each frame knows.
            while frames[-1].more:
                frames.append(self._socket.recv(copy=False))
            self._service.handle(frames[0].bytes, frames[1:])
        self._service.say_farewell()
        self._socket.close()
        if self._home is not None:
            self._home.close()
        # Not destroy(), which would close the guard's socket under its thread.
        self._context.term()

    def _receive(self) -> zmq.Frame:
        # Readers that have caught up send no word of it.
        if self._service.resume() and not self._socket.poll(_PAUSE_MS):
            raise zmq.Again
        return self._socket.recv(copy=False)

    def _has_ended(self) -> bool:
        due = self._life.is_due()
        if due:
            self._service.tick()
        if not (due or self._service.released):
            return False
        self._service.released = False
        if self._home is not None:
            goes_on = self._home.goes_on()
        else:
            goes_on = self._life.goes_on(has_objects=bool(self._table.totals().objects))
        return not goes_on and self._life.end()

    def _send(
        self, client: bytes, reply: Reply, pieces: Sequence[BytesLike] = ()
    ) -> zmq.MessageTracker:
        self._socket.send(client, zmq.SNDMORE)
        self._socket.send(reply.encode(), zmq.SNDMORE if pieces else 0)
        trackers: list[zmq.MessageTracker] = []
        for number, piece in enumerate(pieces, 1):
            flags = zmq.SNDMORE if number < len(pieces) else 0
            tracker = self._socket.send(piece, flags, copy=False, track=True)
            assert tracker is not None
            trackers.append(tracker)
        return zmq.MessageTracker(*trackers)


def main() -> None:
    """Be the store process that the command line describes."""
    options, path, lock_fd = sys.argv[1:]
    life = Life.begin("zmq", path, int(lock_fd))
    # Each client has a descriptor.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    Server(life, Options.parse(options)).run()


if __name__ == "__main__":
    main()
