"""`ensure_running`: of many processes that need the store process of their node, one starts it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from proxystore.errors import ConnectorUnavailableError
from proxystore.host.forks import no_fork, remake_in_child
from proxystore.host.locks import try_lock, unlock
from proxystore.serving.place import Announcement, Owner, Place, is_linked

if TYPE_CHECKING:
    import subprocess

__all__ = ["check_protocol", "ensure_running"]

_POLL_SECONDS = 0.002
_LOG_NBYTES = 4000
_SAID_LENGTH = 200
_OPEN_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_LOG = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


def ensure_running(
    place: Place, command: Sequence[str], *, protocol: int, timeout: float = 30.0
) -> Announcement:
    """What the store process at ``place`` says of itself; it is started if there is none.

    It is detached, with its output in the log, and has of this process's descriptors
    only the lock that says that it runs. It ends as its `Life` says.

    Args:
        place: Its directory, which is made.
        command: ``-m module`` and arguments for a new Python, which finds the same
            modules. It is given the directory and the lock as well, for `Life.begin`.
        protocol: Version of what the caller speaks.
        timeout: Seconds until it must have announced itself.

    Raises:
        ConnectorUnavailableError: It ended while it started, and why if it said so
            (the end of its log is a note); it took too long; it speaks another version.
        UnsafeDirectoryError: The directory is a link or not private.
    """
    deadline = time.monotonic() + timeout
    started = False
    while (found := place.announced()) is None:
        started = _start_if_free(place, command, timeout, again=started) or started
        if time.monotonic() > deadline:
            raise _not_started(place, f"it was not ready within {timeout:g} s")
        time.sleep(_POLL_SECONDS)
    check_protocol(place, found, protocol)
    return found


def check_protocol(place: Place, found: Announcement, protocol: int) -> None:
    """Return if a store process speaks version ``protocol``.

    Raises:
        ConnectorUnavailableError: It does not.
    """
    if found.protocol != protocol:
        raise ConnectorUnavailableError(
            repr(place),
            f"it speaks version {found.protocol} of its protocol, and this process {protocol}",
            f"Install one version of the {place.kind} connector for all processes of a namespace.",
        )


class _Lock:
    """The lock of a store process that is not there yet, as long as this process has it."""

    def __init__(self, fd: int) -> None:
        self.fds = [fd]
        remake_in_child(self)

    def remade_in_child(self) -> None:
        # The child's copy would make a store process that died look alive.
        while self.fds:
            os.close(self.fds.pop())


@contextmanager
def _lock(place: Place) -> Iterator[int | None]:
    """The descriptor of the lock, if no store process has it and no other process starts one."""
    try:
        with no_fork():
            held = _Lock(os.open(place.file("lock"), _OPEN_LOCK, 0o600))
    except FileNotFoundError:
        yield None
        return
    fd = held.fds[0]
    try:
        mine = try_lock(fd)
        if mine and not is_linked(fd):
            unlock(fd)
            mine = False
        yield fd if mine else None
    finally:
        # No explicit unlock: the store process has a copy.
        with no_fork():
            os.close(held.fds.pop())


def _start_if_free(place: Place, command: Sequence[str], timeout: float, *, again: bool) -> bool:
    """Start the process, if none runs or begins; whether it was.

    Raises:
        ConnectorUnavailableError: That failed, or it has been done ``again``.
    """
    place.make()
    with _lock(place) as fd:
        if fd is None:
            return False
        try:
            if again:
                raise _not_started(place, "it ended while it started")
            _start(place, command, fd, timeout)
        except ConnectorUnavailableError:
            # Nobody else would.
            if place.owner() is Owner.GONE:
                place.remove()
            raise
    return True


def _start(place: Place, command: Sequence[str], fd: int, timeout: float) -> None:
    """Start the process, and return once it has detached."""
    # Here: the store process imports this module too, and never needs it.
    import subprocess

    # What a killed one left.
    place.remove_remains()
    process = _opened(place, command, fd)
    try:
        status = process.wait(timeout)
    except subprocess.TimeoutExpired as error:
        process.kill()
        process.wait()
        raise _not_started(place, f"it had not begun after {timeout:g} s") from error
    if status:
        raise _not_started(place, f"it ended with status {status}")


def _opened(place: Place, command: Sequence[str], fd: int) -> subprocess.Popen[bytes]:
    import subprocess

    log = os.open(place.file("log"), _OPEN_LOG, 0o600)
    try:
        # A child that another thread forks meanwhile would keep Popen waiting while it lives.
        with no_fork():
            return subprocess.Popen(
                # -P, and our own path: it must not find other modules than we do.
                [sys.executable, "-P", *command, place.path, str(fd)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                pass_fds=(fd,),
                start_new_session=True,
            )
    except OSError as error:
        raise _not_started(place, f"Python did not start: {error.strerror}") from error
    finally:
        os.close(log)


def _not_started(place: Place, found: str) -> ConnectorUnavailableError:
    """Why the process is not there: what it said with `Life.fail`, or as far as its log tells."""
    with suppress(FileNotFoundError, ValueError), open(place.file("failure"), "rb") as file:
        found, advice = json.load(file)
        return ConnectorUnavailableError(repr(place), found, advice)
    log = _end_of_log(place)
    last = log.rpartition("\n")[2][:_SAID_LENGTH]
    error = ConnectorUnavailableError(
        repr(place),
        f"{found}; it said last: {last}" if last else f"{found}; it said nothing",
        "See whether this node is out of memory, descriptors or time, and try again.",
    )
    if log:
        error.add_note(f"The log of {place!r} ends:\n{log}")
    return error


def _end_of_log(place: Place) -> str:
    try:
        with open(place.file("log"), "rb") as file:
            file.seek(max(0, os.path.getsize(file.fileno()) - _LOG_NBYTES))
            return file.read().decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""
