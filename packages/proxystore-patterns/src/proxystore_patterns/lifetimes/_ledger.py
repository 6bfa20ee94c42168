"""A note of what the lifetimes of each process hold, for when it is killed.

Each process appends to a file of its own, which it keeps locked. The kernel drops the lock
when the process ends, however it does: a file that can be locked is of a dead one.
"""

from __future__ import annotations

import json
import logging
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
from proxystore.host.forks import remake_in_child
from proxystore.host.home import home
from proxystore.host.locks import try_lock
from proxystore.host.node import this_node
from proxystore.store import Store

__all__ = ["LEDGER", "SUFFIX", "Entry", "Note", "ledger_folder", "notes_in"]

_log = logging.getLogger(__name__)

SUFFIX = ".jsonl"
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


def ledger_folder() -> Path:
    """Where the ledgers of this user's processes are."""
    return home() / "state" / "lifetimes"


class _Ledger:
    """Of this process. Thread safe. A forked child begins one of its own."""

    def __init__(self) -> None:
        self._fd = -1
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

    # Any: stores with whatever connectors.
    def note(
        self, lifetime: str, store: Store[Any], keys: Iterable[Key], *, job: str | None = None
    ) -> Entry | None:
        """Note that a lifetime holds ``keys``. Costs one write.

        Where nothing can be written a warning is logged, once; `None` then, and for objects
        that end with this process.
        """
        if Capability.CROSS_PROCESS not in store.capabilities:
            return None
        entry = fresh_id()
        line = {
            "entry": entry,
            "lifetime": lifetime,
            "job": job,
            "address": store.address,
            "store": store.name,
            "keys": [store.plain_key(key) for key in keys],
        }
        with self._lock:
            if not self._write(line):
                return None
            self._open.add(entry)
        return entry

    def erase(self, entries: Iterable[Entry]) -> None:
        """Note that what some entries name is evicted."""
        with self._lock:
            mine = self._open.intersection(entries)
            self._open -= mine
            if self._fd >= 0 and not self._open:
                self._begin_anew()
            elif mine:
                self._write({"erased": sorted(mine)})

    def _write(self, line: dict[str, Any]) -> bool:
        try:
            if self._fd < 0:
                self._begin()
            os.write(self._fd, _encoded(line))
        except (OSError, UnsafeDirectoryError) as error:
            self._give_up(error)
            return False
        return True

    def _begin(self) -> None:
        folder = ledger_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = open_checked(str(folder))
        try:
            self._fd = self._made_in(directory, fresh_id())
        finally:
            os.close(directory)

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

    def _begin_anew(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._path)
        os.close(self._fd)
        self._fd = -1

    def _give_up(self, error: Exception) -> None:
        _log.warning(
            "What lifetimes hold cannot be noted under %s: %s. Should this process be killed, "
            "what they held will stay.",
            ledger_folder(),
            error,
        )


def _encoded(line: dict[str, Any]) -> bytes:
    # Configs of connectors of the older system hold paths.
    return json.dumps(line, default=str).encode() + b"\n"


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
    )


def _untangled(value: Any) -> Any:
    """What was a tuple before it was written as a list."""
    return tuple(_untangled(each) for each in value) if isinstance(value, list) else value


LEDGER = _Ledger()
"""The ledger of this process."""
