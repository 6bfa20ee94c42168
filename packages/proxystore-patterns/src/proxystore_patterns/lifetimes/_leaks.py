"""What dead processes held, and nobody evicts any more."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from proxystore.abc import Capability, Key
from proxystore.errors import InvalidKeyError, MediumGoneError
from proxystore.host.locks import try_lock
from proxystore.store import Store, get_or_create_store
from proxystore.store.reference import StoreReference
from proxystore_patterns.lifetimes._ledger import SUFFIX, Entry, Note, ledger_folder, notes_in
from proxystore_patterns.lifetimes._slurm import job_status

__all__ = ["Leak", "find_leaks", "remove_leaks"]


class Leak(NamedTuple):
    """Objects that a lifetime, or owners, held in one store when their process died."""

    process: str
    """Which one, for people to read."""
    lifetime: str
    """Its name, or what else held them."""
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
    """What lifetimes and owners of this user held when their processes were killed.

    Asks no medium.

    Only processes of which it is sure count: those whose lock is free, on this host or,
    where the user's directory is shared and has locks, on any. What is to last as long as
    a job counts once that is over, if Slurm can be asked here.
    """
    leaks: list[Leak] = []
    is_due = _Due()
    for path in _ledgers():
        with _dead(path) as notes:
            leaks += [_leak(note) for _, note in _together(notes) if is_due(note)]
    return leaks


def remove_leaks() -> list[Leak]:
    """Evict what `find_leaks` finds, and say what came of each.

    What cannot be removed now, as where its medium cannot be reached, is found again.
    """
    leaks: list[Leak] = []
    is_due = _Due()
    for path in _ledgers():
        with _dead(path) as notes:
            due = [(entries, note) for entries, note in _together(notes) if is_due(note)]
            removed = [(entries, _removed(note)) for entries, note in due]
            leaks += [leak for _, leak in removed]
            if removed:
                done = [entries for entries, leak in removed if leak.is_removed]
                _erase(path, list(itertools.chain.from_iterable(done)))
    return leaks


def _together(notes: list[tuple[Entry, Note]]) -> list[tuple[list[Entry], Note]]:
    """One note for each lifetime and store, in place of one for each time that keys were added."""

    def told(noted: tuple[Entry, Note]) -> str:
        return repr(noted[1]._replace(keys=(), series=()))

    groups = [list(group) for _, group in itertools.groupby(sorted(notes, key=told), told)]
    return [([entry for entry, _ in group], _joined(note for _, note in group)) for group in groups]


def _joined(notes: Iterable[Note]) -> Note:
    first, *others = notes
    keys, series = list(first.keys), list(first.series)
    for note in others:
        keys += note.keys
        series += note.series
    return first._replace(keys=tuple(keys), series=tuple(series))


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
    # A URL, or the kind of the connector and its options.
    address = note.address[0] if isinstance(note.address, tuple) else note.address
    return Leak(note.process, note.lifetime, note.store, str(address), len(note.keys))


def _removed(note: Note) -> Leak:
    leak = _leak(note)
    try:
        reference = StoreReference(note.address, note.store, {})
        store = get_or_create_store(reference, register=False)
        found = _evicted(store, note.keys)
        for series in note.series:
            _evict_series(store, series)
    except MediumGoneError:
        found = "its medium is gone, and they with it"
    except Exception as error:  # noqa: BLE001 - of any connector: the next leak is another's.
        return leak._replace(found=f"not removed: {str(error) or repr(error)}")
    return leak._replace(found=found, is_removed=True)


# Any: a store with whatever connector.
def _evicted(store: Store[Any], all_fields: Iterable[Key]) -> str:
    """Remove the objects of keys, and say how many there were."""
    n_there = n_gone = n_bad = 0
    for fields in all_fields:
        try:
            key = store.make_key(fields)
            is_there = store.exists(key)
            store.evict(key)
        except (InvalidKeyError, TypeError):
            # No object is under what is no key, nor will ever be.
            n_bad += 1
        else:
            n_there, n_gone = n_there + is_there, n_gone + (not is_there)
    bad = f", {n_bad} were no keys of the store" if n_bad else ""
    return f"removed {n_there}, {n_gone} were gone{bad}"


# Any: as above.
def _evict_series(store: Store[Any], series: str) -> None:
    # Elsewhere no object has a key of a given id.
    if Capability.DEFERRABLE not in store.capabilities:
        return
    keys = (store.new_key(f"{series}{number}") for number in itertools.count())
    # The last first, so that what is left if this is killed is found again.
    for key in reversed(list(itertools.takewhile(store.exists, keys))):
        store.evict(key)


def _erase(path: Path, entries: list[Entry]) -> None:
    with path.open("ab") as file:
        file.write(json.dumps({"erased": entries}).encode() + b"\n")
    if not list(notes_in(path.read_text("utf-8", "replace"))):
        os.unlink(path)
