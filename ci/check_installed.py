"""Check that a package is imported from site-packages: ``check_installed.py IMPORT_NAME``."""

from __future__ import annotations

import importlib
import sys
import sysconfig
from pathlib import Path


def main(name: str) -> int:
    module = importlib.import_module(name)
    origin = Path(module.__file__ or "").resolve()
    site = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}
    if site.isdisjoint(origin.parents):
        print(f"{name} was imported from {origin}, which is not in site-packages.", file=sys.stderr)
        return 1
    print(f"{name} is imported from {origin.parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
