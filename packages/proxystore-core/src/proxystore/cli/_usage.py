"""`proxystore stat` without a URL, and `proxystore top`: who takes how much shared memory."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter, defaultdict
from contextlib import suppress
from typing import NamedTuple

from proxystore.cli._table import print_table, size
from proxystore.connectors.file import MediumInfo, list_media
from proxystore.connectors.shm import (
    Census,
    Use,
    census_of,
    mappings,
    media_folder,
    removed_nbytes,
)
from proxystore.errors import MediumGoneError

__all__ = ["TOP", "print_usage", "top", "top_arguments"]

TOP = """\
Show, again and again, what each private directory of this user takes of shared
memory, which process owns it and which map it, and what can be used again.

Where the output is no terminal, each round is printed below the one before."""

_MOST_PIDS = 6
_CLEAR = "\x1b[H\x1b[2J"


class _Shown(NamedTuple):
    """A medium, what is in it, and who maps it."""

    info: MediumInfo
    census: Census
    pids: list[int]


def top_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `top`."""
    parser.add_argument("-d", "--delay", type=float, default=2.0, help="seconds between rounds")
    parser.add_argument("-n", "--rounds", type=int, default=0, help="how many; 0 until Ctrl-C")


def top(arguments: argparse.Namespace) -> int:
    """Show what is in use until interrupted."""
    done = 0
    with suppress(KeyboardInterrupt):
        while True:
            if sys.stdout.isatty():
                print(_CLEAR, end="")
            print_media_in_use()
            sys.stdout.flush()
            done += 1
            if done == arguments.rounds:
                break
            time.sleep(arguments.delay)
    return 0


def print_media_in_use() -> None:
    """One line for each private directory."""
    rows = [
        (
            f"shm://{info.path}",
            ("?" if info.owner_pid is None else str(info.owner_pid))
            + ("" if info.alive else " (dead)"),
            str(census.objects),
            size(census.nbytes),
            size(census.recyclable),
            size(census.uses.total()),
            _listed(pids),
        )
        for info, census, pids in _media()
    ]
    print_table(
        ("MEDIUM", " OWNER", " OBJECTS", " BYTES", " RECYCLABLE", " IN ALL", "MAPPED BY"), rows
    )


def print_usage() -> None:
    """What every byte of shared memory is for."""
    shown = _media()
    uses: Counter[Use] = Counter()
    for _, census, _ in shown:
        uses += census.uses
    uses[Use.REMOVED] += removed_nbytes(media_folder())
    rows = [(use.value, size(uses[use]), str(uses[use])) for use in Use if uses[use]]
    room = _room()
    ours = uses.total()
    if room is not None:
        free, total = room
        rows += [
            ("of other programs and users", size(total - free - ours), str(total - free - ours)),
            ("free", size(free), str(free)),
            ("in all", size(total), str(total)),
        ]
    print_table(("SHARED MEMORY", " SIZE", " BYTES"), rows)
    owners = [
        (
            f"shm://{info.path}",
            "?" if info.owner_pid is None else str(info.owner_pid),
            "alive" if info.alive else "dead",
            _listed(pids),
        )
        for info, _, pids in shown
    ]
    if owners:
        print()
        print_table(("MEDIUM", " OWNER", "STATE", "MAPPED BY"), owners)
    if any(not info.alive for info, _, _ in shown):
        print("\nRun `proxystore gc` to remove what dead processes left.")


def _media() -> list[_Shown]:
    folder, found = media_folder(), []
    pids: defaultdict[str, set[int]] = defaultdict(set)
    for each in mappings(folder):
        pids[os.path.dirname(each.path)].add(each.pid)
    for info in list_media():
        if os.path.dirname(info.path) == folder:
            # Closed meanwhile.
            with suppress(MediumGoneError):
                found.append(_Shown(info, census_of(info.path), sorted(pids[info.path])))
    return found


def _room() -> tuple[int, int] | None:
    try:
        room = os.statvfs(os.path.dirname(media_folder()))
    except FileNotFoundError:
        return None
    return room.f_bfree * room.f_frsize, room.f_blocks * room.f_frsize


def _listed(pids: list[int]) -> str:
    more = f" and {len(pids) - _MOST_PIDS} more" if len(pids) > _MOST_PIDS else ""
    return " ".join(map(str, pids[:_MOST_PIDS])) + more or "nobody"
