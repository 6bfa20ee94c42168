"""The command line as a whole: its commands, their help, and how errors are shown."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from proxystore import __version__
from proxystore.cli import _demo, _doctor, _media, _usage
from proxystore.errors import ProxyStoreError

__all__ = ["main"]

_DESCRIPTION = """\
See and tend the media in which stores keep their objects on this machine.

A store keeps each object once, in a medium; the proxies that travel between
processes only name it. Stores made without a connector, like Store("demo"),
keep theirs in a private directory of shared memory, which goes when its owner
closes the store or ends, and is collected later if the owner was killed."""

_EPILOG = """\
examples:
  proxystore demo                     pass data by value and by proxy, and see both timed
  proxystore ls                       the private directories of this user
  proxystore ls file:///data/objects  the objects in one medium
  proxystore top                      who takes how much shared memory, now
  proxystore gc                       remove what dead processes left
  proxystore doctor                   check that everything works here
"""


class _Command(NamedTuple):
    name: str
    summary: str
    description: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


_COMMANDS = (
    _Command("ls", "list media, or the objects in one", _media.LS, _media.url_argument, _media.ls),
    _Command("stat", "sum up what is in use", _media.STAT, _media.url_argument, _media.stat),
    _Command("top", "watch shared memory in use", _usage.TOP, _usage.top_arguments, _usage.top),
    _Command("gc", "remove what nobody will ask for", _media.GC, _media.gc_arguments, _media.gc),
    _Command(
        "doctor", "check this environment", _doctor.DESCRIPTION, _doctor.arguments, _doctor.run
    ),
    _Command("demo", "see what a proxy saves", _demo.DESCRIPTION, _demo.arguments, _demo.run),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words after the program's name; `None` takes them from `sys.argv`.

    Returns:
        0 if all is well, 1 if not, 2 (by way of `SystemExit`) for wrong usage.
    """
    parsed = _parser().parse_args(arguments)
    try:
        code: int = parsed.run(parsed)
        sys.stdout.flush()
    except ProxyStoreError as error:
        print(f"proxystore {parsed.command}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # `proxystore ls | head`: the reader has enough. Python would complain
        # once more when it flushes the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="proxystore",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"proxystore-core {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        sub = commands.add_parser(
            command.name,
            help=command.summary,
            description=command.description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return parser
