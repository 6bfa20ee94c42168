"""The first words between nodes: each side proves that it holds the secret, and does not say it.

Server: magic, version, 32 random bytes, which instance it is. Client: magic, version, 32 random
bytes, proof. Server: its proof. A proof is a keyed hash of everything said so far and of who says
it, so neither can be used again or sent back.
"""

from __future__ import annotations

import hmac
import os
import socket
import time
from hashlib import blake2b

from proxystore_connectors_ucx._wire import VERSION, OtherVersionError, WireError

__all__ = ["RefusedError", "challenge", "derived_key", "respond"]

_MAGIC = b"PXucx"
_NONCE_NBYTES = 32
_PROOF_NBYTES = 32
_INSTANCE_NBYTES = 8


class RefusedError(Exception):
    """The other side does not hold the same secret."""


def derived_key(secret: bytes, namespace: str) -> bytes:
    """The key of proofs for ``namespace``, from which nobody learns the secret."""
    key = blake2b(secret).digest()
    return blake2b(namespace.encode(), key=key, person=b"proxystore-ucx").digest()


def challenge(sock: socket.socket, key: bytes, instance: str, timeout: float) -> None:
    """Have the client prove that it has ``key``, then prove it to the client. For the server.

    Tells it ``instance``.

    Raises:
        RefusedError: It did not prove it.
        EOFError: It closed the connection.
        OSError: It is gone, or took longer than ``timeout`` seconds for all it has to say.
        WireError: It speaks something else, or another version.
    """
    deadline = time.monotonic() + timeout
    mine = _greeting() + instance.encode()
    sock.sendall(mine)
    theirs = _take_greeting(sock, _NONCE_NBYTES, deadline)
    proof = _take(sock, _PROOF_NBYTES, deadline)
    if not hmac.compare_digest(proof, _proof(key, b"client", mine, theirs)):
        raise RefusedError
    sock.sendall(_proof(key, b"server", mine, theirs))


def respond(sock: socket.socket, key: bytes, timeout: float) -> str:
    """Prove to the server that this process has ``key``, and have it prove the same.

    Returns:
        Which instance of a store process it is.

    Raises:
        RefusedError: The server has another one, or did not accept this one.
        OSError: It is gone, or took longer than ``timeout`` seconds for all it has to say.
        WireError: It speaks something else, or another version.
    """
    deadline = time.monotonic() + timeout
    theirs = _take_greeting(sock, _NONCE_NBYTES + _INSTANCE_NBYTES, deadline)
    mine = _greeting()
    sock.sendall(mine + _proof(key, b"client", theirs, mine))
    try:
        answer = _take(sock, _PROOF_NBYTES, deadline)
    except (EOFError, ConnectionError) as exc:
        raise RefusedError from exc
    if not hmac.compare_digest(answer, _proof(key, b"server", theirs, mine)):
        raise RefusedError
    return theirs[-_INSTANCE_NBYTES:].decode("ascii", "replace")


def _greeting() -> bytes:
    return _MAGIC + bytes([VERSION]) + os.urandom(_NONCE_NBYTES)


def _take_greeting(sock: socket.socket, nbytes: int, deadline: float) -> bytes:
    head = _take(sock, len(_MAGIC) + 1, deadline)
    if not head.startswith(_MAGIC):
        raise WireError("it does not speak this protocol")
    # At once: what follows may be longer or shorter in another version.
    if head[-1] != VERSION:
        raise OtherVersionError(head[-1])
    return head + _take(sock, nbytes, deadline)


def _proof(key: bytes, speaker: bytes, server: bytes, client: bytes) -> bytes:
    said = server + client
    return blake2b(said, key=key, person=speaker, digest_size=_PROOF_NBYTES).digest()


def _take(sock: socket.socket, nbytes: int, deadline: float) -> bytes:
    taken = b""
    while len(taken) < nbytes:
        # A stranger that sends a byte now and then must not stay for ever.
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        more = sock.recv(nbytes - len(taken))
        if not more:
            raise EOFError("the connection was closed")
        taken += more
    return taken
