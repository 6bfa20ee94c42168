"""Frames between two engines: a pickled head, and bytes that follow it as they are."""

from __future__ import annotations

import pickle
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

_LENGTHS = struct.Struct("<IQ")


class Connection:
    """One socket, written by many threads and read by one."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._writing = threading.Lock()

    def send(self, head: tuple[Any, ...], body: Any = b"") -> None:
        raw = pickle.dumps(head)
        with self._writing:
            self.sock.sendall(_LENGTHS.pack(len(raw), len(body)) + raw)
            self.sock.sendall(body)

    def receive(self, target: Callable[[tuple[Any, ...]], Any]) -> tuple[tuple[Any, ...], Any]:
        """The next frame, whose body is read right into what ``target`` of its head is, if any.

        Raises:
            EOFError: There is none.
        """
        head_nbytes, body_nbytes = _LENGTHS.unpack(self._exactly(bytearray(_LENGTHS.size)))
        head = pickle.loads(self._exactly(bytearray(head_nbytes)))
        body = target(head) if body_nbytes else None
        if body is None or len(body) != body_nbytes:
            body = bytearray(body_nbytes)
        return head, self._exactly(body)

    def close(self) -> None:
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    # Any: writable memory, given back when it is full.
    def _exactly(self, data: Any) -> Any:
        rest = memoryview(data)
        while rest:
            try:
                got = self.sock.recv_into(rest)
            except OSError:
                got = 0
            if not got:
                raise EOFError
            rest = rest[got:]
        return data


class Pending:
    """Questions that were asked through a connection, by number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[int, tuple[threading.Event, list[Any]]] = {}
        self._next = 0
        self._broken = False

    def ask(self) -> int:
        with self._lock:
            self._next += 1
            self._slots[self._next] = (threading.Event(), [])
            if self._broken:
                self._slots[self._next][0].set()
            return self._next

    def answer(self, number: int, value: Any) -> None:
        with self._lock:
            slot = self._slots.get(number)
        if slot is not None:
            slot[1].append(value)
            slot[0].set()

    def wait(self, number: int, timeout: float | None) -> Any:
        """The answer.

        Raises:
            TimeoutError: None came in time.
            EOFError: The connection broke.
        """
        event, values = self._slots[number]
        came = event.wait(timeout)
        with self._lock:
            del self._slots[number]
        if not came:
            raise TimeoutError
        if not values:
            raise EOFError
        return values[0]

    def break_off(self) -> None:
        with self._lock:
            self._broken = True
            for event, _ in self._slots.values():
                event.set()
