"""Waiting for names to appear in directories: told by the system where it can, else by looking.

One thread of a process reads what the system tells of all directories in which somebody
waits, however many do. It ends with the process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from proxystore.host.forks import remake_in_child

__all__ = ["call_on", "wait_for"]

_EVENT = struct.Struct("=iIII")
_CREATE, _MOVED_TO, _DELETE_SELF, _ONLY_DIRECTORIES = 0x100, 0x80, 0x400, 0x01000000
_MASK = _CREATE | _MOVED_TO | _DELETE_SELF | _ONLY_DIRECTORIES
_EVERY = -1
# However sure the system is: a name may come by a way of which it tells nothing.
_LOOK_AGAIN_SECONDS = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.01


def wait_for(
    directory: int, name: str, is_there: Callable[[], bool], timeout: float | None
) -> bool:
    """Wait until ``name`` is in the directory and ``is_there``. Thread safe.

    Wakes within a fraction of a millisecond where the system tells (Linux, up to the
    number of processes of a user that may watch), else within 10 ms.

    Args:
        directory: Open.
        name: Of a file in it.
        is_there: Asked first, and again whenever something of that name came.
        timeout: Seconds until it gives up; `None`: never.

    Returns:
        Whether it is there.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    if is_there():
        return True
    try:
        watch = _watcher.watch(directory)
    except OSError:
        return _look_until(is_there, deadline)
    try:
        return _wait_until(watch, name, is_there, deadline)
    finally:
        _watcher.leave(watch)


def call_on(directory: int, name: str, call: Callable[[], None]) -> Callable[[], None]:
    """Make ``call`` whenever ``name`` may have come into the directory, or that went.

    Args:
        directory: Open.
        name: Of a file in it.
        call: Made in a thread that all who wait share.

    Returns:
        What ends it, and may be called again.

    Raises:
        OSError: The system does not tell, or not one more process.
    """
    return _Call(_watcher.watch(directory), name, call).leave


class _Call:
    """Something to call; looks like a lock to the watcher, which gives it up when it is told."""

    def __init__(self, watch: int, name: str, call: Callable[[], None]) -> None:
        self._watch, self._name, self._call = watch, name, call
        self._left = False
        _watcher.expect(watch, name, self)

    def release(self) -> None:
        # Again, and before the call: what comes after it is told too.
        _watcher.expect(self._watch, self._name, self)
        if self._left:
            _watcher.forget(self._watch, self._name, self)
            return
        self._call()

    def leave(self) -> None:
        if not self._left:
            self._left = True
            _watcher.forget(self._watch, self._name, self)
            _watcher.leave(self._watch)


def _wait_until(
    watch: int, name: str, is_there: Callable[[], bool], deadline: float | None
) -> bool:
    while True:
        # Before the look: what comes after it is told.
        told = threading.Lock()
        told.acquire()
        _watcher.expect(watch, name, told)
        try:
            if is_there():
                return True
            left = _LOOK_AGAIN_SECONDS
            if deadline is not None:
                left = min(left, deadline - time.monotonic())
                if left <= 0:
                    return False
            told.acquire(timeout=left)
        finally:
            _watcher.forget(watch, name, told)


def _look_until(is_there: Callable[[], bool], deadline: float | None) -> bool:
    pause = _FIRST_PAUSE
    while not is_there():
        if deadline is not None and time.monotonic() >= deadline:
            return False
        time.sleep(pause if deadline is None else min(pause, max(0, deadline - time.monotonic())))
        pause = min(2 * pause, _LONGEST_PAUSE)
    return True


class _Watcher:
    """What the system tells of directories, passed on to those who wait. Thread safe."""

    def __init__(self) -> None:
        self._fd = -1
        self.remade_in_child()
        remake_in_child(self)

    def remade_in_child(self) -> None:
        """Leave the parent its waits."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._lock = threading.Lock()
        self._waiters: dict[int, int] = {}
        # Each is released when the name came. Any: locks have no public type.
        self._expected: dict[tuple[int, str], set[Any]] = {}

    def watch(self, directory: int) -> int:
        """Begin to be told of the open directory; gives what names the watch.

        Raises:
            OSError: The system does not tell, or not one more process.
        """
        with self._lock:
            if self._fd < 0:
                self._fd = _inotify().inotify_init1(os.O_CLOEXEC)
                if self._fd < 0:
                    raise OSError(ctypes.get_errno(), "inotify_init1")
                threading.Thread(
                    target=self._pass_on, args=(self._fd,), name="proxystore-arrivals", daemon=True
                ).start()
            path = f"/proc/self/fd/{directory}".encode()
            watch: int = _inotify().inotify_add_watch(self._fd, path, _MASK)
            if watch < 0:
                raise OSError(ctypes.get_errno(), "inotify_add_watch")
            self._waiters[watch] = self._waiters.get(watch, 0) + 1
            return watch

    def leave(self, watch: int) -> None:
        """One who waited does not any more."""
        with self._lock:
            self._waiters[watch] -= 1
            if not self._waiters[watch]:
                del self._waiters[watch]
                _inotify().inotify_rm_watch(self._fd, watch)

    def expect(self, watch: int, name: str, told: Any) -> None:
        """Call ``told.release()``, once, when ``name`` came."""
        with self._lock:
            self._expected.setdefault((watch, name), set()).add(told)

    def forget(self, watch: int, name: str, told: Any) -> None:
        """Do not release it any more."""
        with self._lock:
            expecting = self._expected.get((watch, name), set())
            expecting.discard(told)
            if not expecting:
                self._expected.pop((watch, name), None)

    def _pass_on(self, fd: int) -> None:
        while True:
            data = os.read(fd, 65536)
            position = 0
            while position < len(data):
                watch, _, _, length = _EVENT.unpack_from(data, position)
                position += _EVENT.size
                name = os.fsdecode(data[position : position + length].rstrip(b"\0"))
                position += length
                self._tell(watch, name)

    def _tell(self, watch: int, name: str) -> None:
        with self._lock:
            if name:
                keys = [(watch, name)]
            else:
                # Of the directory itself; or of everything, where too much happened.
                keys = [key for key in self._expected if watch in {_EVERY, key[0]}]
            told = [each for key in keys for each in self._expected.pop(key, ())]
        for each in told:
            each.release()


@cache
def _inotify() -> Any:  # A library of the system.
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "inotify")
    return ctypes.CDLL(None, use_errno=True)


_watcher = _Watcher()
