"""Check that each package says what changed: fragments well named and written, or a changelog."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import tree

NAME = re.compile(r"(\d+|\+[\w-]+)\.(feature|bugfix|removal|doc)(\.\d+)?\.md")


def _faults(fragment: Path) -> list[str]:
    where = fragment.relative_to(tree.ROOT)
    if not NAME.fullmatch(fragment.name):
        return [f"{where}: expected <issue>.<feature|bugfix|removal|doc>.md"]
    text = fragment.read_text("utf-8").strip()
    if not text.endswith("."):
        return [f"{where}: expected full sentences for users of the package"]
    return []


def main() -> int:
    faults: list[str] = []
    count = 0
    for package in tree.packages():
        folder = package.path / "changes"
        fragments = sorted(path for path in folder.glob("*") if not path.name.startswith("."))
        changelog = package.path / "CHANGELOG.md"
        if not fragments and not changelog.exists():
            faults.append(f"{package.name}: neither a fragment in changes/ nor a CHANGELOG.md")
        count += len(fragments) + changelog.exists()
        for fragment in fragments:
            faults += _faults(fragment)
    if not count:
        faults.append("check_changes: found nothing to check.")
    print("\n".join(faults) or f"check_changes: {count} changelogs and fragments are well formed.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
