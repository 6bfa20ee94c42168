"""What dead processes held, and nobody evicts any more."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from proxystore.errors import MediumGoneError, ProxyStoreError
from proxystore.host.locks import try_lock
from proxystore.store import get_or_create_store
from proxystore.store.reference import StoreReference
from proxystore_patterns.lifetimes._ledger import SUFFIX, Entry, Note, ledger_folder, notes_in
from proxystore_patterns.lifetimes._slurm import job_status

__all__ = ["Leak", "find_leaks", "remove_leaks"]


class Leak(NamedTuple):
    """Objects that a lifetime held in one store when its process died."""

    process: str
    """Which one, for people to read."""
    lifetime: str
    """Its name."""
    store: str
    """Its name."""
    address: str
    """Of the store."""
    n_keys: int
    """Held; their objects may be gone by now."""
    found: str = ""
    """What came of removing them, a clause."""
    is_removed: bool = False


def find_leaks() -> list[Leak]:
    """What lifetimes of this user held when their processes were killed. Asks no medium.

    Only processes of which it is sure count: those whose lock is free, on this host or,
    where the user's directory is shared and has locks, on any. What is to last as long as
    a job counts once that is over, if Slurm can be asked here.
    """
    leaks: list[Leak] = []
    is_due = _Due()
    for path in _ledgers():
        with _dead(path) as notes:
            leaks += [_leak(note) for _, note in notes if is_due(note)]
    return leaks


def remove_leaks() -> list[Leak]:
    """Evict what `find_leaks` finds, and say what came of each.

    What cannot be removed now, for its medium cannot be reached, is found again.
    """
    leaks: list[Leak] = []
    is_due = _Due()
    for path in _ledgers():
        with _dead(path) as notes:
            removed = [(entry, _removed(note)) for entry, note in notes if is_due(note)]
            leaks += [leak for _, leak in removed]
            if removed:
                _erase(path, [entry for entry, leak in removed if leak.is_removed])
    return leaks


def _ledgers() -> list[Path]:
    return sorted(ledger_folder().glob(f"*{SUFFIX}"))


@contextmanager
def _dead(path: Path) -> Iterator[list[tuple[Entry, Note]]]:
    """What is left in the ledger of a dead process, locked; nothing in that of a living one."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield []
        return
    with file:
        try:
            is_dead = try_lock(file.fileno())
        except OSError:
            # No locks here: nobody can tell.
            is_dead = False
        if not is_dead:
            yield []
            return
        notes = list(notes_in(file.read().decode("utf-8", "replace")))
        if not notes:
            path.unlink(missing_ok=True)
        yield notes


class _Due:
    """Whether what a dead process held is to go. Asks Slurm once for each job."""

    def __init__(self) -> None:
        self._is_over: dict[str, bool] = {}

    def __call__(self, note: Note) -> bool:
        if note.job is None:
            return True
        if note.job not in self._is_over:
            self._is_over[note.job] = job_status(note.job).is_over is True
        return self._is_over[note.job]


def _leak(note: Note) -> Leak:
    address = note.address if isinstance(note.address, str) else note.address[0]
    return Leak(note.process, note.lifetime, note.store, address, len(note.keys))


def _removed(note: Note) -> Leak:
    leak = _leak(note)
    try:
        store = get_or_create_store(
            StoreReference(note.address, note.store, {}), register=False
        )
        keys = [store.make_key(fields) for fields in note.keys]
        n_there = 0
        for key in keys:
            n_there += store.exists(key)
            store.evict(key)
    except MediumGoneError:
        return leak._replace(found="its medium is gone, and they with it", is_removed=True)
    except ProxyStoreError as error:
        return leak._replace(found=str(error))
    gone = len(keys) - n_there
    return leak._replace(found=f"removed {n_there}, {gone} were gone", is_removed=True)


def _erase(path: Path, entries: list[Entry]) -> None:
    with path.open("ab") as file:
        file.write(json.dumps({"erased": entries}).encode() + b"\n")
    if not list(notes_in(path.read_text("utf-8", "replace"))):
        os.unlink(path)
