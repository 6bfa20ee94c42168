"""A note of what the lifetimes of each process hold, for when it is killed.

Each process appends to a file of its own, which it keeps locked. The kernel drops the lock
when the process ends, however it does: a file that can be locked is of a dead one.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from proxystore.abc import Capability, Key
from proxystore.connectors.keys import fresh_id
from proxystore.directories import open_checked
from proxystore.errors import UnsafeDirectoryError
from proxystore.host.forks import no_fork, remake_in_child
from proxystore.host.home import home
from proxystore.host.locks import try_lock
from proxystore.host.node import this_node
from proxystore.store import Store
from proxystore_patterns.lifetimes._ends import at_end

__all__ = ["LEDGER", "SUFFIX", "Entry", "Note", "ledger_folder", "notes_in"]

_log = logging.getLogger(__name__)

SUFFIX = ".jsonl"
# A ledger is written anew once it has this many bytes, of which most are of what was erased.
_LEAST_SWEEP = 1 << 18
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Entry = str
"""What names a note in the ledger of its process."""


class Note(NamedTuple):
    """What a lifetime held in one store."""

    process: str
    lifetime: str
    job: str | None
    """The Slurm job with which the lifetime ends, if it ends with one."""
    # Any: as a store's reference has it.
    address: Any
    store: str
    keys: tuple[Key, ...]
    series: tuple[str, ...] = ()
    """Ids of objects but for a number: of each series they exist from 0 on, without gaps."""


def ledger_folder() -> Path:
    """Where the ledgers of this user's processes are."""
    return home() / "state" / "lifetimes"


class _Ledger:
    """Of this process. Thread safe. A forked child begins one of its own."""

    def __init__(self) -> None:
        self._fd = -1
        # Never given twice: a child may come with what its parent noted.
        self._numbers = itertools.count()
        self.remade_in_child()
        remake_in_child(self)

    def remade_in_child(self) -> None:
        if self._fd >= 0:
            # Else the parent's lock would outlive it in this process.
            os.close(self._fd)
        # Reentrant: a garbage collection may run a finalizer that comes here.
        self._lock = threading.RLock()
        self._fd, self._path = -1, ""
        self._open: set[Entry] = set()
        self._n_bytes, self._sweep_at = 0, float(_LEAST_SWEEP)
        self._is_watched = self._is_leaving = self._is_off = False

    # Any: stores with whatever connectors.
    def note(
        self,
        lifetime: str,
        store: Store[Any],
        keys: Iterable[Key],
        *,
        job: str | None = None,
        series: str = "",
    ) -> Entry | None:
        """Note that ``lifetime`` holds ``keys``. Costs one write.

        Where nothing can be written a warning is logged, once, and nothing is noted any more;
        `None` then, and for objects that end with this process.
        """
        if self._is_off or Capability.CROSS_PROCESS not in store.capabilities:
            return None
        entry = str(next(self._numbers))
        line = {
            "entry": entry,
            "lifetime": lifetime,
            "job": job,
            "address": store.address,
            "store": store.name,
            "keys": [store.plain_key(key) for key in keys],
            "series": [series] if series else [],
        }
        with self._lock:
            # First, for a sweep leaves out what is not open.
            self._open.add(entry)
            if self._write(line):
                return entry
            self._open.discard(entry)
            return None

    def erase(self, entries: Iterable[Entry]) -> None:
        """Note that what some entries name is evicted."""
        with self._lock:
            mine = self._open.intersection(entries)
            self._open -= mine
            if self._is_leaving and not self._open:
                self._remove()
            elif mine and self._write({"erased": sorted(mine)}) and self._n_bytes > self._sweep_at:
                self._sweep()

    def leave(self) -> None:
        """Leave no file once nothing is held: the process is about to end."""
        with self._lock:
            self._is_leaving = True
            if not self._open:
                self._remove()

    def _write(self, line: dict[str, Any]) -> bool:
        try:
            if self._fd < 0:
                self._begin()
            self._n_bytes += os.write(self._fd, _encoded(line))
        except (OSError, UnsafeDirectoryError) as error:
            self._give_up(error)
            return False
        return True

    def _begin(self) -> None:
        folder = ledger_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = open_checked(str(folder))
        self._n_bytes = 0
        try:
            # A child forked in between would keep the lock, and nobody could close it there.
            with no_fork():
                self._fd = self._made_in(directory, fresh_id())
        finally:
            os.close(directory)
        if not self._is_watched:
            self._is_watched = True
            at_end(self, self.leave)

    def _made_in(self, directory: int, name: str) -> int:
        fd = os.open(name, _APPEND, 0o600, dir_fd=directory)
        with suppress(OSError):
            # Without locks nobody can tell whether this process lives, and is not to guess.
            try_lock(fd)
        os.write(fd, _encoded({"process": f"process {os.getpid()} on host {this_node().host}"}))
        # Known as a ledger only now: before, it could have been locked by who looks for dead ones.
        os.rename(name, name + SUFFIX, src_dir_fd=directory, dst_dir_fd=directory)
        self._path = str(ledger_folder() / (name + SUFFIX))
        return fd

    def _sweep(self) -> None:
        """Go on in another file, with what is still held.

        Until that is complete the old one is there, so a death in between loses nothing.
        """
        # Not again meanwhile: a garbage collection may erase something in the midst of this.
        self._sweep_at = math.inf
        fd, path, lines = self._fd, self._path, list[bytes]()
        try:
            with open(path, "rb") as file:
                lines = [line for line in file if _entry_in(line) in self._open]
            self._begin()
            for line in lines:
                self._n_bytes += os.write(self._fd, line)
        except (OSError, UnsafeDirectoryError):
            # The old one is as good, but for its size.
            fd, path, self._fd, self._path = self._fd, self._path, fd, path
        if fd != self._fd:
            _remove(fd, path)
        self._sweep_at = max(_LEAST_SWEEP, 4 * self._n_bytes)
        stale = {_entry_in(line) for line in lines} - self._open
        if stale:
            # Erased meanwhile, in the one file or before it was noted in the other.
            self._write({"erased": sorted(stale)})

    def _remove(self) -> None:
        if self._fd >= 0:
            _remove(self._fd, self._path)
            self._fd = -1

    def _give_up(self, error: Exception) -> None:
        self._is_off = True
        _log.warning(
            "What lifetimes and owners hold cannot be noted under %s: %s. Should this process be "
            "killed, what they held will stay. Set PROXYSTORE_HOME to a directory of yours.",
            ledger_folder(),
            error,
        )


def _remove(fd: int, path: str) -> None:
    # Whoever opened it before, to see whether this process is dead, gets the lock now.
    os.ftruncate(fd, 0)
    with suppress(FileNotFoundError):
        os.unlink(path)
    os.close(fd)


# Configs of connectors of the older system hold paths.
_encode = json.JSONEncoder(default=str).encode


def _encoded(line: dict[str, Any]) -> bytes:
    return _encode(line).encode() + b"\n"


_BEFORE_ENTRY = b'{"entry": "'


def _entry_in(line: bytes) -> Entry:
    """What a line of ours notes; nothing that was ever noted if it says something else."""
    if not line.startswith(_BEFORE_ENTRY):
        return ""
    return line[len(_BEFORE_ENTRY) :].partition(b'"')[0].decode()


def notes_in(text: str) -> Iterator[tuple[Entry, Note]]:
    """What a ledger says is still held. Leaves out lines that were not finished."""
    process, held = "a process that is not known", dict[Entry, Note]()
    for line in text.splitlines():
        try:
            fields = json.loads(line)
            process = fields.get("process", process)
            for entry in fields.get("erased", ()):
                held.pop(entry, None)
            if "entry" in fields:
                held[fields["entry"]] = _note(process, fields)
        except (ValueError, AttributeError, KeyError, TypeError):
            # Of a process that was killed as it wrote, or of a disk that was full.
            continue
    yield from held.items()


# Any: as they were written.
def _note(process: str, fields: dict[str, Any]) -> Note:
    return Note(
        process,
        fields["lifetime"],
        fields["job"],
        _untangled(fields["address"]),
        fields["store"],
        tuple(_untangled(fields["keys"])),
        tuple(map(str, fields.get("series", ()))),
    )


def _untangled(value: Any) -> Any:
    """What was a tuple before it was written as a list."""
    return tuple(_untangled(each) for each in value) if isinstance(value, list) else value


LEDGER = _Ledger()
"""The ledger of this process."""
