"""`Channel`: large buffers by UCX, beside a socket that tells when the other side is gone."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

from proxystore.errors import ConnectorUnavailableError
from proxystore.host.forks import remake_in_child
from proxystore_connectors_ucx._device import DeviceMemory, Piece
from proxystore_connectors_ucx._route import Route

__all__ = [
    "Channel",
    "ChannelError",
    "ChannelTimeoutError",
    "NoWayError",
    "check_installed",
    "check_way",
    "contexts",
]

_CLOSE_NS = 100_000_000
_CHUNK_NBYTES = 1 << 24
_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR
_LOG_LEVEL = "UCX_LOG_LEVEL"
_INSTALL = "Run: pip install ucxx-cu12 (it needs Linux, and no GPU)."


class ChannelError(Exception):
    """A transfer did not end well. The channel cannot be used any more."""


class ChannelTimeoutError(ChannelError, TimeoutError):
    """The other side did not move on for too long."""


class NoWayError(ChannelError):
    """There is nothing by which UCX could go, nor will there be if it is asked again."""


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
        with _quiet():
            import ucxx  # type: ignore[import-untyped,import-not-found,unused-ignore]

        # Every call of the core API takes an Array, which is published nowhere else.
        array = importlib.import_module("ucxx._lib.arr").Array
    except (ImportError, OSError) as exc:
        found = f"package ucxx cannot be loaded ({exc})"
        raise ConnectorUnavailableError("UCX", found, _INSTALL) from exc
    return ucxx.libucxx, array


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Have UCX not log what is raised as well, unless told; it reads that as it is loaded."""
    if _LOG_LEVEL in os.environ:
        yield
        return
    os.environ[_LOG_LEVEL] = "fatal"
    try:
        yield
    finally:
        # It is not for the processes that this one starts.
        os.environ.pop(_LOG_LEVEL, None)


# Any: UCX has no types.
@contextlib.contextmanager
def _told(api: Any, route: Route | None = None) -> Iterator[None]:
    """What UCX raises, as `ChannelError`; as `NoWayError` if it is in vain to set up ``route``."""
    try:
        yield
    except ChannelError:
        raise
    except (api.UCXError, RuntimeError, ValueError, MemoryError, OSError) as exc:
        in_vain = (api.UCXNoDeviceError, api.UCXNoElemError, api.UCXUnreachableError)
        if route is not None and isinstance(exc, in_vain):
            raise NoWayError(f"UCX finds no way by {route} ({exc})") from exc
        raise ChannelError(f"UCX says {type(exc).__name__}: {exc}") from exc


class _Contexts:
    """The UCX contexts of this process. One is made for each way to connect, on first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Any: UCX has no types.
        self._made: dict[Route, Any] = {}
        remake_in_child(self)

    def remade_in_child(self) -> None:
        self._lock = threading.Lock()
        for context in self._made.values():
            immortalise(context)
        self._made = {}

    def get(self, route: Route) -> Any:
        with self._lock:
            context = self._made.get(route)
            if context is None:
                api, _ = _load_ucx()
                context = self._made[route] = api.UCXContext(route.settings())
            return context


contexts = _Contexts()


def check_way(route: Route) -> None:
    """Return if UCX can be set up for ``route`` on this node. Loads it.

    Raises:
        ConnectorUnavailableError: UCX is not installed, or cannot be loaded.
        ChannelError: As `Channel`.
    """
    api, _ = _load_ucx()
    with _told(api, route):
        contexts.get(route)


def immortalise(thing: object) -> None:
    """Keep ``thing`` for ever: in a forked child, what frees it would speak for the parent."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


class Channel:
    """A UCX worker and endpoint of their own, for one connection. For one thread at a time.

    Args:
        sock: The connection. Only watched.
        route: How UCX reaches the other side of it.

    Raises:
        ConnectorUnavailableError: UCX is not installed, or cannot be loaded.
        NoWayError: This node has nothing of what ``route`` names.
        ChannelError: UCX does not start.
    """

    def __init__(self, sock: socket.socket, route: Route) -> None:
        self._api, self._array = _load_ucx()
        self._route = route
        with _told(self._api, route):
            self._worker = self._api.UCXWorker(contexts.get(route))
            self._worker.init_blocking_progress_mode()
        self._endpoint: Any = None
        self._tag: Any = None
        self._moving: Sequence[Piece] = ()
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
            NoWayError: Nothing that both sides may use leads there.
            ChannelError: UCX failed.
        """
        with _told(self._api, self._route):
            peer = self._api.UCXAddress.create_from_buffer(address)
            self._endpoint = self._worker.create_endpoint_from_worker_address(
                peer, endpoint_error_handling=True
            )
        self._tag = self._api.UCXXTag(tag)

    def send(self, pieces: Sequence[Piece], timeout: float | None) -> None:
        """Send buffers, which are not read any more once this returns.

        Args:
            pieces: Of the object, in order.
            timeout: Seconds without 16 MiB being sent after which it fails.

        Raises:
            ChannelError: The other side is gone, UCX failed, or it took too long.
        """
        with self._move(pieces) as chunks:
            self._finish([self._endpoint.tag_send(each, self._tag) for each in chunks], timeout)

    def receive(self, pieces: Sequence[memoryview], timeout: float | None) -> None:
        """Fill buffers with what the other side sends as just these pieces.

        Raises:
            ChannelError: As `send`.
        """
        with self._move(pieces) as chunks:
            self._finish([self._worker.tag_recv(each, self._tag) for each in chunks], timeout)

    def close(self) -> None:
        """End every transfer. Nothing of this process is read or written after that."""
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            endpoint.close_blocking(_CLOSE_NS, 1)
            self._worker.cancel_inflight_requests()
        # Not before: what came meanwhile was still written there.
        self._moving = ()

    def abandon(self) -> None:
        """Forget all this without a trace: in a forked child."""
        immortalise(self._worker)
        immortalise(self._endpoint)

    @contextlib.contextmanager
    def _move(self, pieces: Sequence[Piece]) -> Iterator[Iterable[Any]]:
        self._moving = pieces
        with _told(self._api):
            yield map(self._array, _chunks(pieces))
        self._moving = ()

    # Any: requests of UCX.
    def _finish(self, requests: list[Any], timeout: float | None) -> None:
        left = deque(requests)
        deadline = _after(timeout)
        while True:
            self._worker.progress()
            while left and left[0].completed:
                left.popleft().check_error()
                deadline = _after(timeout)
            if not left:
                return
            # A worker that cannot be armed has work to do, or believes so for ever if its
            # peer died: the socket is asked either way.
            events = self._poll.poll(_milliseconds(deadline) if self._worker.arm() else 0)
            if any(event & _GONE for _, event in events):
                raise ChannelError("the other side went away in the middle of an object")
            if deadline is not None and time.monotonic() > deadline:
                raise ChannelTimeoutError


def _chunks(pieces: Sequence[Piece]) -> Iterator[memoryview | DeviceMemory]:
    """Both sides cut alike: a transfer is seen to move on, however large it is."""
    for piece in pieces:
        whole = piece if isinstance(piece, DeviceMemory) else memoryview(piece)
        for start in range(0, len(whole), _CHUNK_NBYTES):
            yield whole[start : start + _CHUNK_NBYTES]


def _after(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _milliseconds(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, (deadline - time.monotonic()) * 1e3)
