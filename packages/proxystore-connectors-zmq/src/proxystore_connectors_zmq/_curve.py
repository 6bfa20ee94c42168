"""Keys of the encrypted channel between nodes, all made from the secret that the nodes share."""

from __future__ import annotations

import hashlib
import threading
from typing import NamedTuple, Self

import zmq
from zmq.utils import z85

from proxystore.errors import ConnectorUnavailableError
from proxystore.secrets import read_secret

__all__ = ["Keys", "Pair", "guard"]


class Pair(NamedTuple):
    """A CURVE key pair, in the text that libzmq takes."""

    public: bytes
    secret: bytes


class Keys(NamedTuple):
    """Who holds the secret has both: a client knows its server by its key, and is known by its own.

    Source: CurveZMQ (rfc.zeromq.org/spec/26), with keys derived by keyed BLAKE2b.
    """

    server: Pair
    client: Pair

    @classmethod
    def read(cls, reference: str, needed_by: str) -> Self:
        """The keys from the secret at ``reference``.

        Raises:
            SecretNotFoundError: It is not there.
            UnsafeSecretError: Others can read or replace its file.
            ConnectorUnavailableError: libzmq was built without CURVE.
        """
        if not zmq.has("curve"):
            raise ConnectorUnavailableError(
                needed_by,
                "libzmq was built here without CURVE, which encrypts what leaves a node",
                "Install the wheel of pyzmq: pip install --force-reinstall pyzmq.",
            )
        secret = read_secret(reference, needed_by)
        return cls(_pair(secret, b"server"), _pair(secret, b"client"))

    def serve(self, socket: zmq.Socket[bytes]) -> None:
        """Have what ``socket`` binds from here on take encrypted connections only."""
        socket.curve_secretkey, socket.curve_publickey = self.server.secret, self.server.public
        socket.curve_server = True

    def join(self, socket: zmq.Socket[bytes]) -> None:
        """Have what ``socket`` connects to from here on be a server of the same secret."""
        socket.curve_serverkey = self.server.public
        socket.curve_secretkey, socket.curve_publickey = self.client.secret, self.client.public


def _pair(secret: bytes, role: bytes) -> Pair:
    # A hash first: BLAKE2b takes keys up to 64 bytes, and secrets have any length.
    key = hashlib.blake2b(secret).digest()
    text = z85.encode(
        hashlib.blake2b(role, key=key, digest_size=32, person=b"proxystore-zmq").digest()
    )
    return Pair(zmq.curve_public(text), text)


def guard(context: zmq.Context[zmq.Socket[bytes]], keys: Keys) -> None:
    """Refuse whoever wants in at a server of ``context`` and does not have the secret.

    Runs in a thread until the context ends.
    """
    socket = context.socket(zmq.REP)
    socket.linger = 0
    socket.bind("inproc://zeromq.zap.01")
    expected = z85.decode(keys.client.public)
    threading.Thread(target=_answer, args=(socket, expected), daemon=True).start()


def _answer(socket: zmq.Socket[bytes], expected: bytes) -> None:
    # Source: ZAP (rfc.zeromq.org/spec/27).
    with socket:
        while True:
            try:
                version, number, _, _, _, mechanism, *credentials = socket.recv_multipart()
            except zmq.ContextTerminated:
                return
            known = mechanism == b"CURVE" and credentials == [expected]
            status = (b"200", b"OK") if known else (b"400", b"not the secret of this store")
            socket.send_multipart([version, number, *status, b"", b""])
