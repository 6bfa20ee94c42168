"""Builds packages of this repository, and installs them as wheel files.

A name would be answered by the public index, with a newer version or, for two of the names,
with something of others.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nox

import tree

PACKAGES = {package.name: package for package in tree.packages()}

# One folder a run: a wheel of the run before has the same name, version and none of the changes.
_FOLDER = tempfile.TemporaryDirectory(prefix="wheels-")
_BUILT: dict[str, Path] = {}


def _wheel(session: nox.Session, name: str) -> Path:
    """The wheel of a package of this repository, built once a run."""
    if name not in _BUILT:
        _BUILT[name] = build(session, PACKAGES[name], Path(_FOLDER.name) / name, "--wheel")
    return _BUILT[name]


def build(session: nox.Session, package: tree.Package, folder: Path, *kinds: str) -> Path:
    """Build ``package`` into ``folder``; returns its wheel."""
    command = (sys.executable, "-m", "uv", "build", "--quiet", *kinds, "--out-dir", str(folder))
    session.run(*command, str(package.path), external=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(
    session: nox.Session,
    *requirements: str,
    own: dict[str, Path] | None = None,
    lowest: bool = False,
) -> None:
    """Install ``requirements``; names of this repository get the wheel files built from it.

    Args:
        own: Wheels that are named too, such as that of a package made from the template.
        lowest: Take the lowest version of what is named. Needs the uv backend.
    """
    parsed = [tree.Requirement.parse(text) for text in requirements]
    files = dict(own or {})
    for name in tree.closure((each.name for each in parsed), PACKAGES):
        files[name] = _wheel(session, name)
    constraints = Path(_FOLDER.name) / "constraints.txt"
    constraints.write_text("".join(f"{n} @ {w.as_uri()}\n" for n, w in files.items()), "utf-8")
    named = [
        f"{each.name}[{','.join(each.extras)}] @ {files[each.name].as_uri()}"
        if each.name in files
        else each.text
        for each in parsed
    ]
    flags = ["--resolution=lowest-direct"] if lowest else []
    if session.venv_backend != "uv":
        flags.append("--force-reinstall")  # pip takes an equal version to be the same wheel.
    session.install(*flags, "--constraint", str(constraints), *named)
