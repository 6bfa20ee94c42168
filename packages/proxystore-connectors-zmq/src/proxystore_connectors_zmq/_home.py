"""What keeps a store process of another node alive: the one on the owner's node."""

from __future__ import annotations

import time

import zmq

from proxystore_connectors_zmq._curve import Keys
from proxystore_connectors_zmq._wire import GarbageError, Op, Reply, Request, Status

__all__ = ["Home"]

_PATIENCE_SECONDS = 10.0


class Home:
    """The store process on the owner's node, as one on another node sees it.

    Args:
        context: For the connection.
        address: ``host:port``.
        namespace: Which it must serve.
        keys: To be let in.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], address: str, namespace: str, keys: Keys
    ) -> None:
        self._hello = Request(Op.HELLO, 0, namespace, a=1).encode()
        self._socket = context.socket(zmq.DEALER)
        self._socket.linger = 0
        keys.join(self._socket)
        self._socket.ipv6 = "[" in address
        self._socket.connect(f"tcp://{address}")
        self._heard = time.monotonic()
        self._socket.send(self._hello)

    def goes_on(self) -> bool:
        """Whether it still serves the namespace, or was heard of in the last 10 s. Never blocks."""
        try:
            while True:
                reply = Reply.parse(memoryview(self._socket.recv(zmq.NOBLOCK)))
                if reply.status is not Status.OK:
                    return False
                self._heard = time.monotonic()
        except GarbageError:
            return False
        except zmq.Again:
            pass
        try:
            self._socket.send(self._hello, zmq.NOBLOCK)
        except zmq.Again:
            # It has been away for so long that the questions pile up.
            return False
        return time.monotonic() - self._heard < _PATIENCE_SECONDS

    def close(self) -> None:
        """Let go of the connection."""
        self._socket.close()
