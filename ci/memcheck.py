"""Run tests of the C proxy under valgrind: ``memcheck.py TESTS...``.

Only what has a frame of ours counts: Python itself reads what valgrind holds for uninitialised,
and leaves much of what it imported where it lies.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

_OURS = "/_c.abi3.so"
_HARMLESS = {"Leak_PossiblyLost", "Leak_StillReachable"}


def _faults(report: Path) -> Iterator[str]:
    for error in ET.parse(report).getroot().iter("error"):
        objects = [frame.findtext("obj") or "" for frame in error.iter("frame")]
        kind = error.findtext("kind") or ""
        if kind not in _HARMLESS and any(name.endswith(_OURS) for name in objects):
            functions = [frame.findtext("fn") or "?" for frame in error.iter("frame")]
            text = error.findtext("what") or error.findtext("xwhat/text")
            yield f"{kind}: {text}\n  {' < '.join(functions[:12])}"


def main(tests: list[str]) -> int:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        print("memcheck: there is no valgrind here (Debian: apt-get install valgrind).")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [
            *(valgrind, "--xml=yes", f"--xml-file={report}", "--leak-check=full"),
            *("--num-callers=30", "--child-silent-after-fork=yes"),
            # Without -I: Python would not read PYTHONMALLOC.
            *(sys.executable, "-m", "pytest", "--import-mode=importlib", "-p", "no:cacheprovider"),
            # The twin has no memory of its own to lose. Fifty times slower, so one slow test only.
            *("-q", "-k", "not pure and (not slow or references)", "-o", "timeout=600", *tests),
        ]
        # Python's own allocator would hide what is read after it was freed.
        environment = {**os.environ, "PYTHONMALLOC": "malloc"}
        code = subprocess.run(command, cwd=folder, env=environment, check=False).returncode
        faults = list(_faults(report))
    print("\n".join(faults) or "memcheck: no error and no lost block with a frame of the C proxy.")
    return 1 if faults else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
