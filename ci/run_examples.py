"""Run every Python block of README.md, packages/*/README.md and docs/**/*.md, or of FILES.

The blocks of a file run in order, as one script, in an empty directory. A block is left out by
``<!-- no-run: REASON -->`` on the line before it. With ``<!-- run-beside: PROGRAM -->`` in a page,
that Python program (a path from the page) is started in the same directory first. It prints
NAME=VALUE for the environment of the example, an empty line, and ends with its standard input.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NO_RUN = re.compile(r"<!-- no-run: \S.* -->")
BESIDE = re.compile(r"<!-- run-beside: (\S+) -->")
LIMIT_S = 120


def _pages() -> list[Path]:
    patterns = ("README.md", "packages/[!_]*/README.md", "docs/**/*.md")
    return [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]


def script_of(page: Path) -> str:
    """The Python of ``page``, each line at its place, so that tracebacks give lines of the page.

    Raises:
        ValueError: A block has no end.
    """
    lines: list[str] = []
    state, previous = "prose", ""
    for line in page.read_text("utf-8").splitlines():
        python = state == "python" and line != "```"
        lines.append(line if python else "")
        if state == "prose" and line.startswith("```"):
            runs = line == "```python" and not NO_RUN.fullmatch(previous.strip())
            state = "python" if runs else "other"
        elif line.strip() == "```":
            state = "prose"
        previous = line
    if state != "prose":
        raise ValueError(f"{page}: a fenced block has no end.")
    return "\n".join(lines) + "\n"


@contextmanager
def _beside(page: Path, folder: str) -> Iterator[dict[str, str]]:
    """What the program beside the example adds to its environment, while that runs."""
    found = BESIDE.search(page.read_text("utf-8"))
    if found is None:
        yield {}
        return
    command = [sys.executable, str(page.resolve().parent / found[1])]
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        lines = itertools.takewhile(str.strip, program.stdout)
        yield dict(line.rstrip("\n").split("=", 1) for line in lines)


def _run(page: Path, script: str) -> bool:
    with tempfile.TemporaryDirectory(prefix="example-") as folder:
        file = Path(folder) / f"{page.stem}.py"
        file.write_text(script, "utf-8")
        start = time.monotonic()
        # A script, not stdin: process pools import the main module again.
        with _beside(page, folder) as environment:
            done = subprocess.run(
                [sys.executable, "-I", file.name],
                cwd=folder,
                env=os.environ | environment,
                timeout=LIMIT_S,
                check=False,
            )
    verdict = "ran" if done.returncode == 0 else f"FAILED ({done.returncode})"
    print(f"{page.resolve()}: {verdict}, {time.monotonic() - start:.1f} s", flush=True)
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILES")
    pages = parser.parse_args().files or _pages()
    scripts = {page: script_of(page) for page in pages}
    scripts = {page: script for page, script in scripts.items() if script.strip()}
    if not scripts:
        print("run_examples: no Python block was found, so nothing was run.", file=sys.stderr)
        return 1
    failed = [page for page, script in scripts.items() if not _run(page, script)]
    print(f"run_examples: {len(scripts) - len(failed)} of {len(scripts)} pages ran.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
