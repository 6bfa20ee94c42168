"""``proxystore-patterns``: see and remove what patterns left behind."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from proxystore.errors import ProxyStoreError
from proxystore_patterns.lifetimes import Leak, find_leaks, remove_leaks

__all__ = ["main"]

_LEAKS = """\
List what lifetimes held in processes that were killed, and that no medium ends by itself.
With --remove, evict it. What a job is to keep is left until Slurm says that it is over."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words after the program's name; `None` takes them from `sys.argv`.

    Returns:
        0 if nothing is left behind (any more), 1 if something is or the command failed.
    """
    parser = argparse.ArgumentParser(prog="proxystore-patterns", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    leaks = commands.add_parser("leaks", help="list what nobody will evict", description=_LEAKS)
    leaks.add_argument("--remove", action="store_true", help="evict it")
    parsed = parser.parse_args(arguments)
    try:
        return _leaks(remove=parsed.remove)
    except (ProxyStoreError, OSError) as error:
        print(f"proxystore-patterns {parsed.command}: {error}", file=sys.stderr)
        return 1


def _leaks(*, remove: bool) -> int:
    found = remove_leaks() if remove else find_leaks()
    for leak in found:
        print(_line(leak))
    if not found:
        print("Nothing was left behind.")
    elif not remove:
        print("Remove it with: proxystore-patterns leaks --remove")
    return 0 if all(leak.is_removed for leak in found) else 1


def _line(leak: Leak) -> str:
    what = f"{leak.n_keys} key{'' if leak.n_keys == 1 else 's'}"
    line = f"{leak.lifetime} of {leak.process}: {what} in store {leak.store!r} at {leak.address}"
    return f"{line}: {leak.found}" if leak.found else line


if __name__ == "__main__":
    sys.exit(main())
