"""Soaks `FileConnector`: many processes, killed at random, checked against a model.

Workers put, set, read, hold, change, replace, lease and evict objects in shared
memory and on disk. All but one of them get killed with -9 in the middle of their work and are
replaced. What a worker acknowledged must be there, whole and right, until it
is evicted or expires; whatever else is found must be whole, and of a killed
writer. Descriptors, mappings, private memory and directories must not grow.
Ends with a summary, and exit code 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import platform
import random
import secrets
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

# Isolated Python leaves out the directory of its script.
sys.path.insert(0, str(Path(__file__).parent))

from audit import Medium
from crew import Crew
from ledger import Ledger
from soak import Soak
from watch import OBJECTS

from proxystore.connectors.file import FileConnector

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - what is made there is private


def main() -> int:
    """Run the soak that the command line asks for; 1 if anything was wrong."""
    options = _options()
    rng = random.Random(options.seed)  # noqa: S311 - of choices, not of secrets
    parents = {"disk": options.directory}
    if _SHARED_MEMORY.is_dir():
        parents["shared memory"] = _SHARED_MEMORY
    with ExitStack() as stack:
        media: list[Medium] = []
        for title, parent in parents.items():
            made = stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-", dir=parent))
            connector = stack.enter_context(FileConnector(Path(made, OBJECTS)))
            media.append(Medium(title, connector, Ledger(len(media), rng)))
        urls = [medium.connector.url for medium in media]
        crew = Crew(urls, options.processes, options.between_kills, rng)
        stack.callback(crew.dismiss)
        soak = Soak(media, crew, rng, _show if sys.stderr.isatty() else lambda _: None)
        try:
            soak.run(options.minutes * 60)
        except KeyboardInterrupt:
            soak.violations.append("interrupted before its end")
    _summarize(soak, options.seed)
    return 1 if soak.violations else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="nox -s soak -- core",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: ./ci/nox -s soak -- core --minutes 60 --processes 8",
    )
    add = parser.add_argument
    add("--minutes", type=_positive, default=10.0, help="how long to work (default: 10)")
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


def _show(soak: Soak) -> None:
    operations = f"{soak.done.total():,} operations, {soak.crew.kills} kills"
    state = f"{soak.elapsed_s:.0f} s: {operations}, {len(soak.violations)} violations"
    print(f"\r\x1b[K{state}", end="", file=sys.stderr, flush=True)


def _summarize(soak: Soak, seed: int) -> None:
    if sys.stderr.isatty():
        print(file=sys.stderr)
    kinds = ", ".join(f"{op.value} {count:,}" for op, count in soak.done.most_common())
    print(f"soak of FileConnector, Python {platform.python_version()}, seed {seed}")
    print(f"  {soak.elapsed_s:.0f} s, {soak.done.total():,} operations: {kinds}")
    print(
        f"  {soak.crew.kills} workers killed and replaced, {soak.unanswered} of them before they "
        f"had answered"
    )
    for medium in soak.media:
        print(
            f"  {medium.title}: {medium.checked:,} objects found right in {soak.audits} audits, at "
            f"most {medium.largest_nbytes / 1e6:.0f} MB; of killed writers {medium.orphans} "
            f"temporaries collected, {medium.unknown} whole objects removed"
        )
    print(
        f"  per worker at most {soak.most.descriptors} descriptors, {soak.most.mappings} mappings, "
        f"{soak.most.private_nbytes / 1e6:.0f} MB of private memory"
    )
    for who, grown in soak.grown.items():
        print(f"  {who} grew by {grown / 1e6:+.1f} MB of private memory")
    print(f"{len(soak.violations)} violations")
    for violation in soak.violations:
        print(f"- {violation}")


if __name__ == "__main__":
    sys.exit(main())
