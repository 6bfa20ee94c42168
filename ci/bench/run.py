"""Measures this repository beside its peers and prints one table a suite.

Needs an environment with the wheels of this repository, and `--peer`, the
interpreter of one with the system to compare with. `nox -s bench` makes both.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from report import as_markdown, write_json

_SUITES = ("core", "proxy", "connectors", "shm", "patterns")


def main() -> int:
    """Run the named suites; 0 however the figures turn out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", choices=[*_SUITES, []], help="default: all")
    parser.add_argument("--peer", required=True, help="Python of the older system's environment")
    parser.add_argument("--out", type=Path, default=Path(), help="directory for bench-SUITE.json")
    arguments = parser.parse_args()
    for suite in arguments.suites or _SUITES:
        rows = []
        for row in importlib.import_module(suite).measure(arguments.peer):
            rows.append(row)
            print(f"  {row.name}: {', '.join(filter(None, row.cells()[2:]))}", file=sys.stderr)
        write_json(rows, arguments.out / f"bench-{suite}.json")
        print(f"\n{suite}: medians [95 % interval]; theirs is proxystore 1.1.0 unless named\n")
        print(as_markdown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
