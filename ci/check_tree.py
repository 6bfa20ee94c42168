"""Check the shape of the tree: what lies at the top, what each package has, names and licences."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path, PurePosixPath

import tree

TOP = {"README.md", "LICENSE", "noxfile.py", "packages", "docs", "ci"}
PACKAGE = ("pyproject.toml", "README.md", "LICENSE", "changes", "src", "tests")
VAGUE = {"utils", "util", "helpers", "helper", "manager", "misc", "common"}


def _tracked() -> list[PurePosixPath]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=tree.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [PurePosixPath(name) for name in listed.stdout.split("\0") if name]


def _misplaced(paths: list[PurePosixPath]) -> list[str]:
    tops = {path.parts[0] for path in paths}
    wrong = [f"{top}: only {', '.join(sorted(TOP))} and dotfiles belong at the top level"
             for top in sorted(tops - TOP) if not top.startswith(".")]
    wrong += [f"{path}: a name that says nothing of what is in it"
              for path in paths if path.suffix == ".py" and VAGUE & {path.stem, *path.parts}]
    return wrong


def _incomplete(package: Path, licence: bytes) -> list[str]:
    name = package.relative_to(tree.ROOT)
    missing = [f"{name}: has no {entry}" for entry in PACKAGE if not (package / entry).exists()]
    own = package / "LICENSE"
    if own.exists() and own.read_bytes() != licence:
        missing.append(f"{name}/LICENSE: differs from the LICENSE at the top")
    if "test" not in tree.Package.read(package).groups:
        missing.append(f"{name}/pyproject.toml: has no [dependency-groups] test")
    if not list(package.glob("tests/**/test_*.py")):
        missing.append(f"{name}/tests: has no test_*.py")
    if not list(package.glob("src/*/py.typed")):
        missing.append(f"{name}: has no py.typed beside its __init__.py")
    return missing


def main() -> int:
    paths = _tracked()
    if not paths:
        print("check_tree: git lists no files, so nothing was checked.", file=sys.stderr)
        return 1
    wrong = _misplaced(paths)
    licence = (tree.ROOT / "LICENSE").read_bytes()
    template = tree.ROOT / "packages" / "_template-connector"
    for package in [*(each.path for each in tree.packages()), template]:
        wrong += _incomplete(package, licence)
    print("\n".join(wrong) or f"check_tree: {len(paths)} files are where they belong.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
