"""`Channel`: large buffers by UCX, beside a socket that tells when the other side is gone."""

from __future__ import annotations

import contextlib
import ctypes
import enum
import importlib
import importlib.util
import os
import select
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from proxystore.errors import ConnectorUnavailableError
from proxystore.host.forks import remake_in_child
from proxystore.payload import BytesLike
from proxystore_connectors_ucx._options import Network

__all__ = ["Channel", "ChannelError", "ChannelTimeoutError", "Side", "check_installed", "contexts"]

_CLOSE_NS = 100_000_000
_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR
_INSTALL = "Run: pip install ucxx-cu12 (it needs Linux, and no GPU)."


class Side(enum.Enum):
    """Which side of a connection this process is. Clients do the copying, for there are many."""

    CLIENT = "get_zcopy"
    STORE = "put_zcopy"


class ChannelError(Exception):
    """A transfer did not end well. The channel cannot be used any more."""


class ChannelTimeoutError(ChannelError, TimeoutError):
    """A transfer took too long."""


def check_installed() -> None:
    """Return if there is UCX. Does not load it.

    Raises:
        ConnectorUnavailableError: There is none.
    """
    if importlib.util.find_spec("ucxx") is None:
        raise ConnectorUnavailableError("UCX", "package ucxx is not installed", _INSTALL)


def _load_ucx() -> tuple[ModuleType, type]:
    # Of what ucxx sets in the environment, its UCX warns in every process that inherits it.
    os.environ.setdefault("UCX_WARN_UNUSED_ENV_VARS", "n")
    try:
        import ucxx  # type: ignore[import-untyped,import-not-found,unused-ignore]

        # Every call of the core API takes an Array, which is published nowhere else.
        array = importlib.import_module("ucxx._lib.arr").Array
    except (ImportError, OSError) as exc:
        found = f"package ucxx cannot be loaded ({exc})"
        raise ConnectorUnavailableError("UCX", found, _INSTALL) from exc
    return ucxx.libucxx, array


class _Contexts:
    """The UCX contexts of this process. One is made for each way to connect, on first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Any: UCX has no types.
        self._made: dict[tuple[Side, Network | None], Any] = {}
        remake_in_child(self)

    def remade_in_child(self) -> None:
        self._lock = threading.Lock()
        for context in self._made.values():
            immortalise(context)
        self._made = {}

    def get(self, side: Side, network: Network | None) -> Any:
        with self._lock:
            context = self._made.get((side, network))
            if context is None:
                api, _ = _load_ucx()
                context = api.UCXContext(_settings(side, network))
                self._made[side, network] = context
            return context


contexts = _Contexts()


def immortalise(thing: object) -> None:
    """Keep ``thing`` for ever: in a forked child, what frees it would speak for the parent."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _settings(side: Side, network: Network | None) -> dict[str, str]:
    # Rendezvous: eager messages would be copied twice.
    common = {"RNDV_THRESH": "32768"}
    if network is not None:
        return {**common, **network.settings()}
    return {
        **common,
        "TLS": "posix,cma",
        "RNDV_SCHEME": side.value,
        # Without these two a peer that is killed in the middle of a transfer takes this process
        # with it (ADR 0004).
        "POSIX_ERROR_HANDLING": "y",
        "CMA_MEMORY_INVALIDATE": "y",
    }


class Channel:
    """A UCX worker and endpoint of their own, for one connection. For one thread at a time.

    Args:
        sock: The connection. Only watched.
        side: Which side of it this process is.
        network: How to reach the other node; `None` for shared memory.

    Raises:
        ConnectorUnavailableError: UCX is not installed, or cannot be loaded.
        ChannelError: UCX does not start.
    """

    def __init__(self, sock: socket.socket, side: Side, network: Network | None) -> None:
        self._api, self._array = _load_ucx()
        with self._told():
            self._worker = self._api.UCXWorker(contexts.get(side, network))
            self._worker.init_blocking_progress_mode()
        self._endpoint: Any = None
        self._tag: Any = None
        self._poll = select.poll()
        self._poll.register(self._worker.epoll_file_descriptor, select.POLLIN)
        self._poll.register(sock, _GONE)

    @property
    def address(self) -> bytes:
        """What the other side connects to."""
        return bytes(memoryview(self._worker.address))

    def connect(self, address: bytes, tag: int) -> None:
        """Connect to the worker at ``address``.

        Args:
            address: From the other side.
            tag: 64 random bits that both sides use, so that no other peer of UCX can
                send into the buffers of this one.

        Raises:
            ChannelError: UCX found no way.
        """
        with self._told():
            peer = self._api.UCXAddress.create_from_buffer(address)
            self._endpoint = self._worker.create_endpoint_from_worker_address(
                peer, endpoint_error_handling=True
            )
        self._tag = self._api.UCXXTag(tag)

    def send(self, pieces: Sequence[BytesLike], timeout: float | None) -> None:
        """Send buffers, which are not read any more once this returns.

        Raises:
            ChannelError: The other side is gone, UCX failed, or it took too long.
        """
        with self._told():
            self._finish(
                [self._endpoint.tag_send(self._array(piece), self._tag) for piece in pieces],
                timeout,
            )

    def receive(self, pieces: Sequence[memoryview], timeout: float | None) -> None:
        """Fill buffers with what the other side sends as just these pieces.

        Raises:
            ChannelError: The other side is gone, UCX failed, or it took too long.
        """
        with self._told():
            self._finish(
                [self._worker.tag_recv(self._array(piece), self._tag) for piece in pieces],
                timeout,
            )

    def close(self) -> None:
        """End every transfer. Nothing of this process is read or written after that."""
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            endpoint.close_blocking(_CLOSE_NS, 1)

    def abandon(self) -> None:
        """Forget all this without a trace: in a forked child."""
        immortalise(self._worker)
        immortalise(self._endpoint)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What UCX raises, as `ChannelError`."""
        try:
            yield
        except ChannelError:
            raise
        except (self._api.UCXError, RuntimeError, ValueError, MemoryError, OSError) as exc:
            raise ChannelError(f"UCX says {type(exc).__name__}: {exc}") from exc

    # Any: requests of UCX.
    def _finish(self, requests: list[Any], timeout: float | None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self._worker.progress()
            if all(request.completed for request in requests):
                break
            # A worker that cannot be armed has work to do, or believes so for ever if its
            # peer died: the socket is asked either way.
            events = self._poll.poll(_milliseconds(deadline) if self._worker.arm() else 0)
            if any(event & _GONE for _, event in events):
                raise ChannelError("the other side went away in the middle of an object")
            if deadline is not None and time.monotonic() > deadline:
                raise ChannelTimeoutError(f"the transfer took more than {timeout:.3g} s")
        for request in requests:
            request.check_error()


def _milliseconds(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, (deadline - time.monotonic()) * 1e3)
