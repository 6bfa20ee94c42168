"""Write `proxystore/connectors/__init__.pyi` from the catalog of connectors.

With --check, write nothing and exit with 1 if the file is not what it would be.
"""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path

CONNECTORS = Path(__file__).parents[1] / "packages/proxystore-core/src/proxystore/connectors"
STUB = CONNECTORS / "__init__.pyi"


def stub() -> str:
    """The text of the stub."""
    catalog = runpy.run_path(str(CONNECTORS / "_catalog.py"))
    lines = ["# Made by ci/front_door.py from _catalog.py.", ""]
    for entry in (*catalog["BUILT_IN"], *catalog["SEPARATE"]):
        line = f"from {entry.module} import {entry.class_name} as {entry.class_name}"
        if entry in catalog["SEPARATE"]:
            # Its distribution may be absent where types are checked.
            line += "  # type: ignore[import-not-found,import-untyped,unused-ignore]"
        lines.append(line)
    return "\n".join([*lines, ""])


def main(arguments: list[str]) -> int:
    """Write the stub, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args(arguments).check:
        STUB.write_text(stub(), encoding="utf-8")
        return 0
    if STUB.exists() and STUB.read_text(encoding="utf-8") == stub():
        return 0
    print(f"{STUB} is not what {Path(__file__).name} makes. Run: python {__file__}")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
