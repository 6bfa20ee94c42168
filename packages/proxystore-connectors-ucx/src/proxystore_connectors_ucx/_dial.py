"""Connections to store processes, before anything is asked over them."""

from __future__ import annotations

import socket
import time

from proxystore.errors import ConnectorUnavailableError, MediumGoneError
from proxystore.secrets import read_secret
from proxystore_connectors_ucx._handshake import RefusedError, derived_key, respond
from proxystore_connectors_ucx._network import dial
from proxystore_connectors_ucx._options import Options
from proxystore_connectors_ucx._wire import WireError

__all__ = ["DIED", "connect_local", "connect_remote", "explained", "shared_key"]

DIED = (
    "its process has died, and the objects with it",
    "Store them again: a put starts a new process.",
)
"""What was found and what to do, of an instance that is not there any more."""
_PAUSE_S = 0.01


def connect_local(path: str, timeout: float) -> socket.socket:
    """A connection to the store process of this node whose socket is at ``path``.

    Raises:
        TimeoutError: It is there, and has no place for another connection all the time.
        OSError: There is none.
    """
    deadline = time.monotonic() + timeout
    sock = socket.socket(socket.AF_UNIX)
    try:
        while not _connects(sock, path):
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(_PAUSE_S)
    except OSError:
        sock.close()
        raise
    sock.settimeout(timeout)
    return sock


def _connects(sock: socket.socket, path: str) -> bool:
    # Without waiting: a wait of the kernel's own ends by a signal as if it were connected.
    sock.settimeout(0)
    try:
        sock.connect(path)
    except BlockingIOError:
        # Its queue is full: it has been stopped, or many come at once.
        return False
    return True


def shared_key(options: Options, where: str) -> bytes:
    """What the store processes of a namespace and their clients prove to each other.

    Raises:
        ConnectorUnavailableError: The options name no secret.
        SecretNotFoundError: There is none on this host.
    """
    if options.secret is None:
        found = "this store has no secret= for connections between nodes"
        raise ConnectorUnavailableError(where, found, "Open it by the URL that its owner gives.")
    return derived_key(read_secret(options.secret, where), options.namespace)


def connect_remote(
    options: Options, address: str, timeout: float, instance: str | None = None
) -> tuple[socket.socket, str]:
    """A connection to the store process at ``address``, each sure of the other.

    Args:
        options: Of the namespace.
        address: ``host:port``.
        timeout: Seconds for all of it.
        instance: Which store process it has to be; `None` for any.

    Returns:
        The connection, and which instance it is.

    Raises:
        MediumGoneError: Another instance is there.
        ConnectorUnavailableError: Nobody is there, it speaks another version, or
            it does not hold the same secret.
        SecretNotFoundError: There is no secret on this host.
    """
    where = f"store process ucx/{options.namespace} at {address}"
    key = shared_key(options, where)
    try:
        sock = dial(address, timeout)
    except OSError as exc:
        advice = (
            "See that its owner is open, and that a firewall lets this node through. If it has "
            "ended, its objects are lost."
        )
        raise ConnectorUnavailableError(where, explained(exc, timeout), advice) from exc
    try:
        found = _introduced(sock, key, where, options, timeout)
        _require(instance, found, where)
    except BaseException:
        sock.close()
        raise
    sock.settimeout(timeout)
    return sock, found


def _introduced(
    sock: socket.socket, key: bytes, where: str, options: Options, timeout: float
) -> str:
    try:
        return respond(sock, key, timeout)
    except RefusedError as exc:
        found = "it did not accept the secret of this node, or does not hold the same"
        advice = f"Give both the same secret, at {options.secret}, and the same namespace."
        raise ConnectorUnavailableError(where, found, advice) from exc
    except (EOFError, OSError, WireError) as exc:
        advice = "See what listens there, and that both have one version of this package."
        raise ConnectorUnavailableError(where, explained(exc, timeout), advice) from exc


def _require(instance: str | None, found: str, where: str) -> None:
    if instance not in {None, found}:
        raise MediumGoneError(where, *DIED)


def explained(exc: Exception, timeout: float) -> str:
    """What became of a connection that was given up after ``timeout`` seconds, or before."""
    # With arguments it is one of the system, whose own limits were reached.
    if isinstance(exc, TimeoutError) and exc.errno is None:
        return f"it did not answer within {timeout:g} s"
    if isinstance(exc, EOFError):
        return "it closed the connection"
    if isinstance(exc, OSError):
        return exc.strerror or str(exc) or type(exc).__name__
    return str(exc)
