"""`proxystore ls`, `stat` and `gc`: what is stored here, and what nobody needs."""

from __future__ import annotations

import argparse
import os
import time

from proxystore.cli._table import age, print_table, size
from proxystore.connectors.file import (
    FileConnector,
    MediumInfo,
    collect_media,
    list_media,
)
from proxystore.connectors.load import connector_from_url
from proxystore.errors import ConfigError

__all__ = ["GC", "LS", "STAT", "gc", "gc_arguments", "ls", "stat", "url_argument"]

LS = """\
Without URL: the private directories of this user on this machine, one line each:
where it is, which process owns it, whether that process still lives, how many
objects it holds and how large they are together.

With URL: the objects in that medium: key, size, age, and when each expires."""

STAT = """\
Without URL: how much of shared memory this user's stores take, and how much of
that belongs to dead processes.

With URL: what the medium can do, what survives in it, and what is in it."""

GC = """\
Without URL: remove the private directories of this user whose owners are dead.

With URL: remove objects whose time to live is over, and the halves of objects
that their writers died writing. Safe while others use the medium."""


def url_argument(parser: argparse.ArgumentParser) -> None:
    """Add the medium that a command is about."""
    parser.add_argument(
        "url", nargs="?", metavar="URL", help="a medium, as in Store.url: file:///data/objects"
    )


def gc_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `gc`."""
    url_argument(parser)
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="without URL: only say what would go"
    )


def ls(arguments: argparse.Namespace) -> int:
    """List media, or the objects in one."""
    if arguments.url is None:
        _print_media(list_media())
        return 0
    now = time.time()
    with _opened(arguments.url) as connector:
        rows = [
            (
                entry.key.filename,
                size(entry.nbytes),
                age(now - entry.created),
                "never" if entry.expires is None else f"in {age(entry.expires - now)}",
            )
            for entry in sorted(connector.entries(), key=lambda entry: entry.created)
        ]
    print_table(("KEY", " SIZE", " AGE", "EXPIRES"), rows)
    return 0


def stat(arguments: argparse.Namespace) -> int:
    """Sum up this user's media, or one medium."""
    if arguments.url is None:
        return _stat_all()
    with _opened(arguments.url) as connector:
        sizes = [entry.nbytes for entry in connector.entries()]
        capabilities = sorted(capability.value for capability in connector.capabilities)
        facts = (
            ("medium", connector.medium.value),
            ("an object survives", connector.acknowledges.survives),
            ("capabilities", ", ".join(capabilities)),
            ("objects", str(len(sizes))),
            ("bytes in all", size(sum(sizes))),
            ("largest", size(max(sizes, default=0))),
        )
    print_table(("FACT", "VALUE"), facts)
    return 0


def gc(arguments: argparse.Namespace) -> int:
    """Remove what nobody will ask for."""
    if arguments.url is not None:
        with _opened(arguments.url) as connector:
            removed = connector.gc()
        print(
            f"Removed {removed.expired} expired objects and {removed.orphans} that were never "
            f"finished: {size(removed.nbytes)}."
        )
        return 0
    if arguments.dry_run:
        media, verb = [info for info in list_media() if not info.alive], "Would remove"
    else:
        media, verb = collect_media(), "Removed"
    if media:
        _print_media(media)
    nbytes = sum(info.nbytes for info in media)
    print(f"{verb} {len(media)} directories of dead processes: {size(nbytes)}.")
    return 0


def _opened(url: str) -> FileConnector:
    connector = connector_from_url(url)
    if not isinstance(connector, FileConnector):
        connector.close()
        raise ConfigError(f"medium {url!r}", "only media of files can be listed", None, ("file",))
    return connector


def _stat_all() -> int:
    media = list_media()
    dead = [info for info in media if not info.alive]
    rows = [
        _totals("in use", [info for info in media if info.alive]),
        _totals("of dead processes", dead),
    ]
    print_table(("DIRECTORIES", " NUMBER", " OBJECTS", " BYTES"), rows)
    if os.path.isdir("/dev/shm"):  # noqa: S108 - only asked for its size
        room = os.statvfs("/dev/shm")  # noqa: S108
        free, total = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
        print(f"Shared memory: {size(free)} free of {size(total)}.")
    if dead:
        print("Run `proxystore gc` to remove what dead processes left.")
    return 0


def _totals(label: str, media: list[MediumInfo]) -> tuple[str, str, str, str]:
    objects, nbytes = sum(info.objects for info in media), sum(info.nbytes for info in media)
    return label, str(len(media)), str(objects), size(nbytes)


def _print_media(media: list[MediumInfo]) -> None:
    rows = [
        (
            f"file://{info.path}",
            "?" if info.owner_pid is None else str(info.owner_pid),
            "alive" if info.alive else "dead",
            str(info.objects),
            size(info.nbytes),
        )
        for info in media
    ]
    print_table(("MEDIUM", " OWNER", "STATE", " OBJECTS", " BYTES"), rows)
