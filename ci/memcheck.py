"""Run tests of the C proxy under valgrind: ``memcheck.py TESTS...``.

Only what has a frame of ours counts: Python itself reads what valgrind holds for uninitialised,
and leaves much of what it imported where it lies. Fails if a test does, and if none ran.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

_OURS = "/_c.abi3.so"
_OF_THE_C_TYPE = re.compile(r"\[c[-\]]")
_HARMLESS = {"Leak_PossiblyLost", "Leak_StillReachable"}


def _faults(report: Path) -> Iterator[str]:
    for error in ET.parse(report).getroot().iter("error"):
        objects = [frame.findtext("obj") or "" for frame in error.iter("frame")]
        kind = error.findtext("kind") or ""
        if kind not in _HARMLESS and any(name.endswith(_OURS) for name in objects):
            functions = [frame.findtext("fn") or "?" for frame in error.iter("frame")]
            text = error.findtext("what") or error.findtext("xwhat/text")
            yield f"{kind}: {text}\n  {' < '.join(functions[:12])}"


def _n_run(results: Path) -> int:
    """How many tests of the C proxy ran, as `pytest` wrote down; 0 if it came to no end."""
    if not results.exists():
        return 0
    cases = ET.parse(results).getroot().iter("testcase")
    return sum(
        _OF_THE_C_TYPE.search(case.get("name", "")) is not None and case.find("skipped") is None
        for case in cases
    )


def main(tests: list[str]) -> int:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        print("memcheck: there is no valgrind here (Debian: apt-get install valgrind).")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        report, results = Path(folder, "report.xml"), Path(folder, "results.xml")
        command = [
            *(valgrind, "--xml=yes", f"--xml-file={report}", "--leak-check=full"),
            *("--num-callers=30", "--child-silent-after-fork=yes"),
            # Without -I: Python would not read PYTHONMALLOC.
            *(sys.executable, "-m", "pytest", "--import-mode=importlib", "-p", "no:cacheprovider"),
            # The twin has no memory of its own to lose. Fifty times slower, so one slow test only.
            *("-q", "-k", "not pure and (not slow or references)", "-o", "timeout=600"),
            *(f"--junitxml={results}", *tests),
        ]
        # Python's own allocator would hide what is read after it was freed.
        environment = {**os.environ, "PYTHONMALLOC": "malloc"}
        code = subprocess.run(command, cwd=folder, env=environment, check=False).returncode
        faults, n_run = list(_faults(report)), _n_run(results)
    said = f"memcheck: pytest ended with {code}, after {n_run} tests of the C proxy"
    print(*faults, f"{said}; {len(faults)} errors or lost blocks have a frame of it.", sep="\n")
    return 0 if code == 0 and n_run > 0 and not faults else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
