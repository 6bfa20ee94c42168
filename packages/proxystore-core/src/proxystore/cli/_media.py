"""`proxystore ls`, `stat` and `gc`: what is stored here, and what nobody needs."""

from __future__ import annotations

import argparse
import time
from typing import TypeAlias

from proxystore.cli._table import age, print_table, size
from proxystore.cli._usage import print_usage
from proxystore.connectors.file import (
    FileConnector,
    FileEntry,
    MediumInfo,
    collect_media,
    list_media,
)
from proxystore.connectors.load import connector_from_url
from proxystore.connectors.shm import ShmConnector, ShmEntry, Use, mappings
from proxystore.errors import ConfigError
from proxystore.serving import collect_places

__all__ = ["GC", "LS", "STAT", "gc", "gc_arguments", "ls", "stat", "url_argument"]

LS = """\
Without URL: the private directories of this user on this machine, one line each:
where it is, which process owns it, whether that process still lives, how many
objects it holds and how large they are together.

With URL: the objects in that medium: key, size, age, and when each expires."""

STAT = """\
Without URL: what every byte of shared memory is for: objects, room that the next
ones can take, what others use; and who owns and who maps each private directory.

With URL: what the medium can do, what survives in it, what is in it, and who maps it."""

GC = """\
Without URL: remove the private directories of this user whose owners are dead.

With URL: remove objects whose time to live is over, and the halves of objects
that their writers died writing. Safe while others use the medium."""


_Listable: TypeAlias = FileConnector | ShmConnector


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
        entries: list[FileEntry | ShmEntry] = list(connector.entries())
        rows = [
            (
                " ".join(map(str, entry.key)),
                size(entry.nbytes),
                "-" if entry.created is None else age(now - entry.created),
                "never" if entry.expires is None else f"in {age(entry.expires - now)}",
            )
            for entry in sorted(entries, key=lambda entry: entry.created or 0)
        ]
    print_table(("KEY", " SIZE", " AGE", "EXPIRES"), rows)
    return 0


def stat(arguments: argparse.Namespace) -> int:
    """Sum up this user's media, or one medium."""
    if arguments.url is None:
        print_usage()
        return 0
    with _opened(arguments.url) as connector:
        sizes = [entry.nbytes for entry in connector.entries()]
        capabilities = sorted(capability.value for capability in connector.capabilities)
        facts = [
            ("medium", connector.medium.value),
            ("an object survives", connector.acknowledges.survives),
            ("capabilities", ", ".join(capabilities)),
            ("objects", str(len(sizes))),
            ("bytes in all", size(sum(sizes))),
            ("largest", size(max(sizes, default=0))),
            *_uses(connector),
        ]
    print_table(("FACT", "VALUE"), facts)
    return 0


def _uses(connector: _Listable) -> list[tuple[str, str]]:
    if not isinstance(connector, ShmConnector):
        return []
    uses = connector.census().uses
    pids = sorted({each.pid for each in mappings(connector.config()["store_dir"])})
    return [
        *((use.value, size(uses[use])) for use in Use if uses[use] and use is not Use.OBJECTS),
        ("mapped by processes", " ".join(map(str, pids)) or "none"),
    ]


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
    for path in () if arguments.dry_run else collect_places():
        print(f"Removed {path}, whose store process and owner were killed.")
    return 0


def _opened(url: str) -> _Listable:
    connector = connector_from_url(url)
    if not isinstance(connector, _Listable):
        connector.close()
        found = "only media of files and of shared memory can be listed"
        raise ConfigError(f"medium {url!r}", found, None, ("file", "shm"))
    return connector


def _print_media(media: list[MediumInfo]) -> None:
    rows = [
        (
            f"shm://{info.path}",
            "?" if info.owner_pid is None else str(info.owner_pid),
            "alive" if info.alive else "dead",
            str(info.objects),
            size(info.nbytes),
        )
        for info in media
    ]
    print_table(("MEDIUM", " OWNER", "STATE", " OBJECTS", " BYTES"), rows)
