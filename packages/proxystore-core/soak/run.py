"""Soaks `ShmConnector` and `FileConnector`: processes killed at random, checked against a model.

Workers put, set, read, hold, change, replace, lease and evict objects in slabs, segments and
files of shared memory too small for them all, so that some go to disk and back, and in plain
directories in shared memory and on disk. All but one of them get killed with -9 in the middle
of their work and are replaced. What a worker acknowledged must be there, whole and right, until
it is evicted or expires; whatever else is found must be whole, and of a killed writer. Every
byte of shared memory must be explained, and nothing left at the end: no descriptors, mappings,
private memory or files. Ends with a table, and exit code 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import random
import secrets
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

# Isolated Python leaves out the directory of its script.
sys.path.insert(0, str(Path(__file__).parent))

from audit import Medium
from crew import Crew
from ledger import Ledger
from soak import Soak
from summary import show_progress, summarize
from worker import Subject

from proxystore.connectors.file import FileConnector
from proxystore.connectors.shm import ShmConnector

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - what is made there is private
_MAX_NBYTES = 20_000_000
# A writer may take what it reserved a moment after another has counted.
_SLACK = 1.05


def main() -> int:
    """Run the soak that the command line asks for; 1 if anything was wrong."""
    options = _options()
    rng = random.Random(options.seed)  # noqa: S311 - of choices, not of secrets
    warnings.simplefilter("ignore", RuntimeWarning)
    with ExitStack() as stack:
        media: list[Medium] = []
        for title, connector, most in _connectors(stack, options.directory):
            stack.enter_context(connector)
            media.append(Medium(title, connector, Ledger(len(media), connector.new_key, rng), most))
        urls = [medium.connector.url for medium in media]
        crew = Crew(urls, options.processes, options.between_kills, rng)
        stack.callback(crew.dismiss)
        soak = Soak(media, crew, rng, show_progress if sys.stderr.isatty() else lambda _: None)
        try:
            soak.run(options.seconds)
        except KeyboardInterrupt:
            soak.violations.append("interrupted before its end")
    summarize(soak, options.seed)
    return 1 if soak.all_violations() else 0


def _connectors(stack: ExitStack, disk: Path) -> Iterator[tuple[str, Subject, int | None]]:
    """Each medium: a title, its owner, and how much it may take."""
    parents = {"files on disk": disk}
    if _SHARED_MEMORY.is_dir():
        parents["files in shared memory"] = _SHARED_MEMORY
        yield "shared memory", ShmConnector(max_nbytes=_MAX_NBYTES), int(_MAX_NBYTES * _SLACK)
    for title, parent in parents.items():
        made = stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-", dir=parent))
        yield title, FileConnector(Path(made, "objects")), None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="nox -s soak -- [core]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: ./ci/nox -s soak -- 3600 --processes 8",
    )
    add = parser.add_argument
    add(
        "seconds",
        type=_positive,
        nargs="?",
        default=600.0,
        help="how long to work (default: 600)",
    )
    add("--processes", type=int, default=4, metavar="N", help="workers, at least 2 (default: 4)")
    add(
        "--between-kills",
        type=_positive,
        default=1.0,
        metavar="SECONDS",
        help="mean time from one kill to the next (default: 1)",
    )
    add(
        "--seed",
        type=int,
        default=secrets.randbelow(10**6),
        help="repeats the choices of a run, though not how processes interleave (default: any)",
    )
    add(
        "--directory",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="where the objects on disk go, on the file system to test (default: %(default)s)",
    )
    options = parser.parse_args()
    if options.processes < 2:
        parser.error("--processes is at least 2: one is never killed, and measured instead.")
    if not options.directory.is_dir():
        parser.error(f"--directory {options.directory} does not exist.")
    return options


def _positive(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{text} is not greater than 0")
    return number


if __name__ == "__main__":
    sys.exit(main())
