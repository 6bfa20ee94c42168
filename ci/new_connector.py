"""Make the package of a new connector from packages/_template-connector."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "packages" / "proxystore-core"
TEMPLATE = ROOT / "packages" / "_template-connector"
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*", "dist", "build", "*.egg-info")


def _built_in_kinds() -> list[str]:
    """The kinds that core has, which a connector of another distribution cannot take over."""
    project = tomllib.loads((CORE / "pyproject.toml").read_text("utf-8"))["project"]
    return sorted(project["entry-points"]["proxystore.connectors"])


def _renamed(text: str, name: str) -> str:
    """``text`` with the template's name, in its three spellings, replaced."""
    camel = "".join(part.capitalize() for part in name.split("-"))
    snake = name.replace("-", "_")
    text = text.replace("proxystore_connectors_template", f"proxystore_connectors_{snake}")
    return text.replace("Template", camel).replace("template", name)


def make(name: str, parent: Path) -> Path:
    """Write the package ``proxystore-connectors-NAME`` into folder ``parent``.

    Raises:
        ValueError: ``name`` cannot be a URL scheme and part of a distribution's name, or is
            the kind of a connector of core.
        FileExistsError: The package is there already. It was not changed.
    """
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot name a connector: expected lower-case letters and digits, "
            f"in words joined by '-', a letter first."
        )
    if name in (kinds := _built_in_kinds()):
        raise ValueError(
            f"{name!r} is the kind of a connector that comes with proxystore-core, which would "
            f"be found in place of yours. Choose a name other than {', '.join(kinds)}."
        )
    target = parent / f"proxystore-connectors-{name}"
    if target.exists():
        raise FileExistsError(f"{target} exists already. Remove it, or choose another name.")
    shutil.copytree(TEMPLATE, target, ignore=LEFT_OUT)
    # The deepest first, so that a folder is renamed after what is in it.
    for path in sorted(target.rglob("*"), key=lambda path: len(path.parts), reverse=True):
        if path.is_file():
            path.write_text(_renamed(path.read_text("utf-8"), name), "utf-8")
        path.rename(path.with_name(_renamed(path.name, name)))
    return target


def main() -> int:
    parser = argparse.ArgumentParser(prog="nox -s new-connector --", description=__doc__)
    parser.add_argument("name", help="such as redis; becomes the kind and the URL scheme")
    parser.add_argument("--into", type=Path, default=ROOT / "packages", help="folder to write to")
    arguments = parser.parse_args()
    try:
        target = make(arguments.name, arguments.into)
    except (ValueError, FileExistsError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"Wrote {target}. Its README.md says what to change first.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
