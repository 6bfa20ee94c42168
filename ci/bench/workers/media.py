"""The media that are measured: those of this repository, of the older system, and what lies below.

Imported in the environments of both systems, so nothing of either is imported
before a medium asks for it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

# Any throughout: arrays of any type, connectors of two systems, options from JSON.


class Medium(Protocol):
    """Something that makes references to arrays, which other processes follow."""

    def proxy(self, array: Any) -> Any:
        """A reference that pickles and, when used, is the array."""
        ...

    def evict(self, proxy: Any) -> None:
        """Remove what the reference leads to."""
        ...

    def transfer_seconds(self, array: Any) -> tuple[float, float]:
        """Seconds to put the bytes of the array, and to get them, in this process."""
        ...


class StoreMedium:
    """A store of either system on one of its connectors."""

    def __init__(self, connector: Any, **options: Any) -> None:
        from proxystore.store import Store

        self.store = Store("bench", connector, **options)

    def proxy(self, array: Any) -> Any:
        """As `Medium.proxy`."""
        return self.store.proxy(array)

    def evict(self, proxy: Any) -> None:
        """As `Medium.evict`."""
        from proxystore.proxy import get_factory

        key = getattr(get_factory(proxy), "key", None)
        # Without one the object is in the proxy itself.
        if key is not None:
            self.store.evict(key)

    def transfer_seconds(self, array: Any) -> tuple[float, float]:
        """As `Medium.transfer_seconds`."""
        connector = self.store.connector
        data = memoryview(array).cast("B")
        start = time.perf_counter()
        key = connector.put(data)
        put = time.perf_counter()
        found = connector.get(key)
        got = time.perf_counter()
        if len(found) != len(data) or found[-8:] != data[-8:]:
            raise RuntimeError("Read something other than what was stored.")
        del found
        connector.evict(key)
        return put - start, got - put


# --- What lies below: the same work without a store -----------------------------


class Reference:
    """Stands in for a proxy: what ``load(*place)`` gives, when it is used."""

    def __init__(self, load: Callable[..., Any], place: tuple[Any, ...]) -> None:
        self.load, self.place = load, place

    def __getitem__(self, index: int) -> Any:
        return np.frombuffer(self.load(*self.place))[index]

    def sum(self) -> Any:
        """Of the array."""
        return np.frombuffer(self.load(*self.place)).sum()


class RawRedis:
    """SET and GET over one socket: the least that moving bytes through the server takes."""

    def __init__(self, host: str, port: int) -> None:
        self.address = (host, port)

    def proxy(self, array: Any) -> Reference:
        """As `Medium.proxy`."""
        name = os.urandom(12).hex().encode()
        data = memoryview(array).cast("B")
        head = b"*3\r\n$3\r\nSET\r\n$24\r\n%s\r\n$%d\r\n" % (name, len(data))
        sock = _socket(self.address)
        _send_all(sock, [head, data, b"\r\n"])
        _expect(sock, b"+OK\r\n")
        return Reference(raw_redis_get, (self.address, name))

    def evict(self, proxy: Reference) -> None:
        """As `Medium.evict`."""
        sock = _socket(self.address)
        sock.sendall(b"*2\r\n$6\r\nUNLINK\r\n$24\r\n%s\r\n" % proxy.place[1])
        _expect(sock, b":1\r\n")

    def transfer_seconds(self, array: Any) -> tuple[float, float]:
        """As `Medium.transfer_seconds`."""
        start = time.perf_counter()
        reference = self.proxy(array)
        put = time.perf_counter()
        reference[-1]
        got = time.perf_counter()
        self.evict(reference)
        return put - start, got - put


def raw_redis_get(address: tuple[str, int], name: bytes) -> memoryview:
    """The value, received where it stays."""
    sock = _socket(tuple(address))
    sock.sendall(b"*2\r\n$3\r\nGET\r\n$24\r\n%s\r\n" % name)
    head = bytearray()
    while not head.endswith(b"\n"):
        head += sock.recv(1)
    data = memoryview(bytearray(int(head[1:-2]) + 2))
    rest = data
    while rest:
        rest = rest[sock.recv_into(rest) :]
    return data[:-2]


_sockets: dict[Any, socket.socket] = {}


def _socket(address: Any) -> socket.socket:
    if address not in _sockets:
        _sockets[address] = socket.create_connection(address)
        _sockets[address].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _sockets[address]


def _send_all(sock: socket.socket, parts: list[Any]) -> None:
    views = [memoryview(part) for part in parts]
    while views:
        sent = sock.sendmsg(views)
        while views and sent >= len(views[0]):
            sent -= len(views.pop(0))
        if sent:
            views[0] = views[0][sent:]


def _expect(sock: socket.socket, answer: bytes) -> None:
    found = b""
    while len(found) < len(answer):
        found += sock.recv(len(answer) - len(found))
    if found != answer:
        raise RuntimeError(f"The server answered {found!r}.")


class S3FS:
    """Arrays pickled into objects by `s3fs`, which is what people would use instead."""

    def __init__(self, endpoint: str, bucket: str) -> None:
        self.place = (endpoint, bucket)

    def proxy(self, array: Any) -> Reference:
        """As `Medium.proxy`."""
        endpoint, bucket = self.place
        path = f"{bucket}/{os.urandom(12).hex()}"
        _s3fs(endpoint).pipe_file(path, array.tobytes())
        return Reference(s3fs_get, (endpoint, path))

    def evict(self, proxy: Reference) -> None:
        """As `Medium.evict`."""
        _s3fs(proxy.place[0]).rm_file(proxy.place[1])

    def transfer_seconds(self, array: Any) -> tuple[float, float]:
        """As `Medium.transfer_seconds`."""
        start = time.perf_counter()
        reference = self.proxy(array)
        put = time.perf_counter()
        reference[-1]
        got = time.perf_counter()
        self.evict(reference)
        return put - start, got - put


def s3fs_get(endpoint: str, path: str) -> bytes:
    """The object."""
    return _s3fs(endpoint).cat_file(path)


def _s3fs(endpoint: str) -> Any:
    import s3fs

    region = {"region_name": "us-east-1"}
    return s3fs.S3FileSystem(
        key="bench", secret="bench", endpoint_url=endpoint, client_kwargs=region
    )


# --- By name ------------------------------------------------------------------


@contextlib.contextmanager
def opened(name: str, options: dict[str, Any]) -> Iterator[Medium]:
    """The medium of that name, closed when the block ends."""
    if name == "raw-redis":
        yield RawRedis(**options)
    elif name == "s3fs":
        yield S3FS(**options)
    elif name in ("by value", "joblib", "shared_memory"):
        from onenode import MEDIA

        yield MEDIA[name]()
    else:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            connector, of_store = _connector(name, options, folder), {}
            if name == "shm":
                of_store = options
            medium = StoreMedium(connector, **of_store)
            try:
                yield medium
            finally:
                medium.store.close()


def _connector(name: str, options: dict[str, Any], folder: str) -> Any:
    if name == "file":
        from proxystore.connectors.file import FileConnector

        return FileConnector(f"{folder}/objects")
    if name == "shm":
        return None
    if importlib.util.find_spec(f"proxystore_connectors_{name}") is None:
        return _of_older_system(name, options)
    from proxystore.connectors.load import new_connector

    return new_connector(name, options)


def _of_older_system(name: str, options: dict[str, Any]) -> Any:
    if name == "redis":
        from proxystore.connectors.redis import RedisConnector

        return RedisConnector(options["hostname"], options["port"])
    if name == "zmq":
        from proxystore.ex.connectors.dim.zmq import ZeroMQConnector

        return ZeroMQConnector(options["port"], interface="lo", timeout=10)
    raise RuntimeError(f"The older system has no medium {name!r} here.")
