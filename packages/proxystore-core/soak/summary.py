"""What a soak found, as tables."""

from __future__ import annotations

import platform
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from soak import Soak
from watch import Usage, growth
from worker import Op

__all__ = ["show_progress", "summarize"]

_MEDIA = (
    "medium",
    "operations",
    "objects found right",
    "wrong",
    "MB at most",
    "grew by MB",
    "spilled at most",
)
_MEDIA_AT_END = ("bytes left", "orphans collected", "unacknowledged")
_PROCESSES = ("process", "descriptors", "mappings", "MB of private memory")


def show_progress(soak: Soak) -> None:
    """Say on the terminal, in one line, how far the run is."""
    operations = f"{_operations(soak).total():,} operations, {soak.crew.kills} kills"
    state = f"{soak.elapsed_s:.0f} s: {operations}, {len(soak.all_violations())} violations"
    print(f"\r\x1b[K{state}", end="", file=sys.stderr, flush=True)


def summarize(soak: Soak, seed: int) -> None:
    """Print what was done, what every medium and process took, and what was wrong."""
    if sys.stderr.isatty():
        print(file=sys.stderr)
    done = _operations(soak)
    kinds = ", ".join(f"{op.value} {count:,}" for op, count in done.most_common())
    print(f"soak, Python {platform.python_version()}, seed {seed}: {soak.elapsed_s:.0f} s")
    print(f"{done.total():,} operations: {kinds}")
    print(
        f"{soak.crew.kills} workers killed and replaced, {soak.unanswered} of them before they "
        f"had answered; {soak.hangs} hangs; {soak.audits} audits\n"
    )
    _print_table((*_MEDIA, *_MEDIA_AT_END), _media(soak))
    print()
    _print_table(_PROCESSES, _processes(soak))
    violations = soak.all_violations()
    print(f"\n{len(violations)} violations")
    for violation in violations:
        print(f"- {violation}")


def _operations(soak: Soak) -> Counter[Op]:
    return sum((medium.done for medium in soak.media), Counter())


def _media(soak: Soak) -> Iterator[Sequence[str]]:
    for medium in soak.media:
        yield (
            medium.title,
            f"{medium.done.total():,}",
            f"{medium.checked:,}",
            f"{len(medium.violations)}",
            f"{max(medium.taken, default=0) / 1e6:.1f}",
            f"{growth(medium.taken) / 1e6:+.1f}",
            f"{medium.most_on_disk}",
            f"{medium.left:,}",
            f"{medium.orphans:,}",
            f"{medium.unknown:,}",
        )


def _processes(soak: Soak) -> Iterator[Sequence[str]]:
    yield "any worker, at most", *_written(soak.most, "")
    for who, samples in soak.usages.items():
        yield f"{who}, at most", *_written(Usage(*map(max, zip(*samples, strict=True))), "")
    for who, grown in soak.growths().items():
        yield f"{who} grew by", *_written(grown, "+")


def _written(usage: Usage, sign: str) -> tuple[str, str, str]:
    descriptors, mappings, private = usage
    return f"{descriptors:{sign}.0f}", f"{mappings:{sign}.0f}", f"{private / 1e6:{sign}.1f}"


def _print_table(headings: Sequence[str], rows: Iterator[Sequence[str]]) -> None:
    lines = [headings, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *others in lines:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        print("  ".join((first.ljust(widths[0]), *cells)))
