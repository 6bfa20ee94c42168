"""Write `docs/reference/capabilities.md`: what each installed connector of this repository can do.

A package describes its connectors in its pyproject.toml:

    [[tool.proxystore.connectors]]
    kind = "redis"
    example = { hostname = "db", port = 6379, namespace = "n" }    # a config; nothing is connected
    reaches = "every host that reaches the server"
    limits = "parts of 512 MB; as much as the server has memory"

The rest is asked of what `from_config(example)` makes. With --check, write nothing and
exit with 1 if the page is not what it would be.
"""

from __future__ import annotations

import argparse
import difflib
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from proxystore.abc import Acknowledgement, Capability
from proxystore.connectors.load import connector_from_config

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/reference/capabilities.md"
_HEAD = """\
# What each connector can do

Made by `ci/capability_table.py` from the connectors themselves, and held to by the conformance kit.
An acknowledged object survives {levels}. What a column means: [contracts](contracts.md).
"""


class Described(NamedTuple):
    """A connector as its package describes it."""

    kind: str
    distribution: str
    # Any: options of a connector.
    example: dict[str, Any]
    reaches: str
    limits: str


def described() -> Iterator[Described]:
    """Every connector in the tree.

    Raises:
        FileNotFoundError: There is none.
    """
    paths = sorted((ROOT / "packages").glob("[!_]*/pyproject.toml"))
    if not paths:
        raise FileNotFoundError(f"No packages/*/pyproject.toml under {ROOT}: nothing to describe.")
    for path in paths:
        document = tomllib.loads(path.read_text("utf-8"))
        for entry in document.get("tool", {}).get("proxystore", {}).get("connectors", ()):
            yield Described(distribution=document["project"]["name"], **entry)


def page() -> str:
    """The text of the page."""
    connectors = [(each, connector_from_config(each.kind, each.example)) for each in described()]
    levels = "; ".join(f"`{level.value}`: {level.survives}" for level in Acknowledgement)
    columns = [each for each in Capability if each is not Capability.CROSS_PROCESS]
    can = [["connector", *(each.value for each in columns)]]
    where = [["connector", "package", "medium", "acknowledges", "reaches", "limits"]]
    for each, connector in connectors:
        can.append([
            f"`{each.kind}`",
            *("yes" if column in connector.capabilities else "" for column in columns),
        ])
        level, medium = connector.acknowledges.value, connector.medium.value
        where.append([
            *(f"`{each.kind}`", f"`{each.distribution}`", medium, f"`{level}`"),
            *(each.reaches, each.limits),
        ])
        connector.close()
    return "\n".join([_HEAD.format(levels=levels), *_table(can), "", *_table(where), ""])


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return lines


def main() -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        PAGE.write_text(page(), "utf-8")
        return 0
    found = PAGE.read_text("utf-8") if PAGE.exists() else ""
    if found == page():
        return 0
    print(*difflib.unified_diff(found.splitlines(), page().splitlines(), lineterm=""), sep="\n")
    print(f"{PAGE.name} is not what {Path(__file__).name} makes. Run it without --check.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
