"""Which Pythons of the supported versions this machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SUPPORTED = ("3.11", "3.12", "3.13", "3.14")


def _candidates(version: str) -> list[str]:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    on_path = shutil.which(f"python{version}")
    return [
        *([on_path] if on_path else []),
        *sorted(map(str, pyenv.glob(f"{version}.*/bin/python{version}")), reverse=True),
        f"/usr/bin/python{version}",
        f"/usr/local/bin/python{version}",
    ]


def _real(candidate: str, version: str) -> Path | None:
    """The interpreter behind ``candidate`` if it runs, is of ``version`` and has venv."""
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2], sys.executable)"
    try:
        done = subprocess.run(
            [candidate, "-c", code], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # A pyenv shim exists for versions that are not active, and fails when it is run.
    found, _, executable = done.stdout.strip().partition(" ")
    return Path(executable) if done.returncode == 0 and found == version else None


def find() -> dict[str, Path]:
    """Supported versions that are here, each with its interpreter."""
    found: dict[str, Path] = {}
    for version in SUPPORTED:
        for candidate in _candidates(version):
            if executable := _real(candidate, version):
                found[version] = executable
                break
    return found
