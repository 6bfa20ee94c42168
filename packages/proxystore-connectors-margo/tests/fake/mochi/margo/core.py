"""`Engine`, `Address` and `Handle`, as in ``mochi.margo.core``."""

from __future__ import annotations

import enum
import itertools
import os
import pickle
import queue
import socket
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mochi.margo._wire import Connection, Pending
from mochi.margo.bulk import Bulk, access, pull, xfer


class mode(enum.Enum):
    client = 0
    server = 1


client, server = mode.client, mode.server


class MargoException(Exception):
    pass


def _failed(function: str, code: str) -> MargoException:
    return MargoException(f"{function}() returned {code}")


class _Link:
    """A connection to another engine, with the questions asked through it."""

    def __init__(self, engine: Engine, sock: socket.socket) -> None:
        self.connection, self.pending = Connection(sock), Pending()
        self.targets: dict[int, memoryview] = {}
        self._engine = weakref.proxy(engine)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while True:
                head, body = self.connection.receive(self._target)
                kind, number, *rest = head
                if kind == "answer":
                    self.pending.answer(number, (rest[0], body))
                elif kind == "rpc":
                    self._engine._requests.put((self, number, rest[0], bytes(body)))
                else:
                    self._move(number, *rest, body)
        except (EOFError, OSError, ReferenceError):
            self.pending.break_off()

    def _target(self, head: tuple[Any, ...]) -> memoryview | None:
        """Where the bytes behind ``head`` belong."""
        kind, number, *rest = head
        if kind == "answer":
            return self.targets.pop(number, None)
        if kind != "move":
            return None
        _, bulk_id, offset, size = rest
        bulk = self._engine._bulks.get(bulk_id)
        return bulk and bulk.part(offset, size, written=True)

    def _move(self, number: int, op: xfer, bulk_id: int, offset: int, size: int, body: Any) -> None:
        """Serve the memory of this engine to the other one."""
        bulk = self._engine._bulks.get(bulk_id)
        part = bulk and bulk.part(offset, size, written=op is not pull)
        if part is None:
            self.connection.send(("answer", number, "HG_INVALID_ARG"))
        elif op is pull:
            self.connection.send(("answer", number, None), part)
        else:
            self.connection.send(("answer", number, None))

    def call(
        self,
        head: tuple[Any, ...],
        body: Any,
        timeout: float | None,
        name: str,
        into: memoryview | None = None,
    ) -> Any:
        number = self.pending.ask()
        if into is not None:
            self.targets[number] = into
        try:
            self.connection.send((head[0], number, *head[1:]), body)
            code, answer = self.pending.wait(number, timeout)
        except TimeoutError:
            raise _failed(name, "HG_TIMEOUT") from None
        except (EOFError, OSError):
            raise _failed(name, "HG_DISCONNECT") from None
        if code is not None:
            raise _failed(name, code)
        return answer


class Address:
    def __init__(self, text: str, link: _Link) -> None:
        self._text, self._link = text, link

    def __str__(self) -> str:
        return self._text


class Handle:
    """A request that was received."""

    def __init__(self, link: _Link, number: int) -> None:
        self._link, self._number = link, number

    @property
    def address(self) -> Address:
        return Address("the caller", self._link)

    def get_addr(self) -> Address:
        return self.address

    def respond(self, data: Any = None) -> None:
        try:
            self._link.connection.send(("answer", self._number, None), pickle.dumps(data))
        except OSError:
            raise _failed("margo_respond", "HG_DISCONNECT") from None


class CallableRemoteFunction:
    def __init__(self, name: str, address: Address) -> None:
        self._name, self._address = name, address

    def __call__(self, *args: Any, timeout: float = 0.0, **kwargs: Any) -> Any:
        raw = pickle.dumps({"args": args, "kwargs": kwargs})
        seconds = timeout / 1000 if timeout else None
        answer = self._address._link.call(
            ("rpc", self._name), raw, seconds, "margo_provider_forward_timed"
        )
        return pickle.loads(answer)


class RemoteFunction:
    def __init__(self, name: str) -> None:
        self._name = name

    def on(self, address: Address, provider_id: int = 0) -> CallableRemoteFunction:
        return CallableRemoteFunction(self._name, address)


_numbers = itertools.count()


class Engine:
    def __init__(
        self,
        addr: str,
        mode: mode = server,
        use_progress_thread: bool = False,
        num_rpc_threads: int = 0,
    ) -> None:
        self._protocol, _, self._where = addr.partition("://")
        self._pid, self._finalized = os.getpid(), False
        self._socket: socket.socket | None = None
        self._links: dict[str, _Link] = {}
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        if self._protocol == os.environ.get("MOCHI_FAKE_WITHOUT"):
            raise RuntimeError("margo_init() returned MARGO_INSTANCE_NULL")
        self._functions: dict[str, Callable[..., Any]] = {}
        self._bulks: weakref.WeakValueDictionary[int, Bulk] = weakref.WeakValueDictionary()
        self._linking = threading.Lock()
        if mode is server:
            self._listen()

    def _listen(self) -> None:
        number = next(_numbers)
        if self._protocol == "na+sm":
            self._where = f"{self._pid}-{number}"
        elif self._where.endswith(":0") or ":" not in self._where:
            self._where = f"{self._where.partition(':')[0]}:{self._pid % 10000 * 5 + number}"
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.bind(str(_path(str(self.address))))
        except OSError:
            raise RuntimeError("margo_init() returned MARGO_INSTANCE_NULL") from None
        self._socket.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()
        threading.Thread(target=self._run, daemon=True).start()

    def _accept(self) -> None:
        assert self._socket is not None
        links = []
        while True:
            try:
                links.append(_Link(self, self._socket.accept()[0]))
            except OSError:
                return

    def _run(self) -> None:
        while (request := self._requests.get()) is not None:
            link, number, name, raw = request
            if name not in self._functions:
                link.connection.send(("answer", number, "HG_NOENTRY"))
                continue
            try:
                data = pickle.loads(raw)
                self._functions[name](Handle(link, number), *data["args"], **data["kwargs"])
            except Exception as exc:
                print(f"[Py-Margo] ERROR: {exc!r}", flush=True)

    @property
    def address(self) -> Address:
        # As real ones: str() of it is all that others can use.
        return Address(f"{self._protocol}://{self._where}", None)  # type: ignore[arg-type]

    def addr(self) -> Address:
        return self.address

    def register(self, rpc_name: str, func: Callable[..., Any] | None = None) -> RemoteFunction:
        if func is not None:
            self._functions[rpc_name] = func
        return RemoteFunction(rpc_name)

    def lookup(self, straddr: str) -> Address:
        self._check_fork()
        with self._linking:
            link = self._links.get(straddr)
            if link is None or link.pending._broken:
                sock = socket.socket(socket.AF_UNIX)
                try:
                    sock.connect(str(_path(straddr)))
                except OSError:
                    sock.close()
                    raise _failed("margo_addr_lookup", "HG_NOENTRY") from None
                link = self._links[straddr] = _Link(self, sock)
        return Address(straddr, link)

    def create_bulk(self, array: Any, mode: access) -> Bulk:
        self._check_fork()
        memory = memoryview(array)
        if not memory.c_contiguous:
            raise ValueError("Non-contiguous arrays not yet supported by PyMargo")
        if not memory.nbytes:
            raise _failed("margo_bulk_create", "HG_INVALID_ARG")
        bulk = Bulk(next(_numbers), mode, memory.cast("B"))
        self._bulks[bulk.bulk_id] = bulk
        return bulk

    def transfer(
        self,
        op: xfer,
        origin_addr: Address,
        origin_handle: Bulk,
        origin_offset: int,
        local_handle: Bulk,
        local_offset: int,
        size: int,
    ) -> None:
        name = "margo_bulk_transfer"
        part = local_handle.part(local_offset, size, written=op is pull)
        if part is None:
            raise _failed(name, "HG_INVALID_ARG")
        head = ("move", op, origin_handle.bulk_id, origin_offset, size)
        into = part if op is pull else None
        origin_addr._link.call(head, b"" if op is pull else part, 60.0, name, into)

    def finalize(self) -> None:
        if self._finalized:
            return
        self._finalized = True
        if os.getpid() != self._pid:
            (Path(os.environ["MOCHI_FAKE_ROOT"]) / "finalized-in-a-child").touch()
            return
        if self._socket is not None:
            _path(str(self.address)).unlink(missing_ok=True)
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self._socket.close()
        self._requests.put(None)
        for link in self._links.values():
            link.connection.close()

    __del__ = finalize

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.finalize()

    def _check_fork(self) -> None:
        if os.getpid() != self._pid:
            raise _failed("margo", "HG_FAULT: this engine is the parent's")


def _path(address: str) -> Path:
    return Path(os.environ["MOCHI_FAKE_ROOT"]) / quote(address, safe="")
