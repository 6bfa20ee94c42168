"""Plain tables, and sizes and ages that people can read."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["age", "print_table", "size"]

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def size(nbytes: float) -> str:
    """``nbytes`` in the largest unit that leaves at least one: ``1.5 MiB``."""
    for unit in _UNITS[:-1]:
        if nbytes < 1024:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.1f} {_UNITS[-1]}"


def age(seconds: float) -> str:
    """A duration in its largest whole unit: ``3 min``."""
    for unit, length in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns; a heading that begins with a space is aligned to the right."""
    lines = [tuple(heading.strip() for heading in headings), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    for line in lines:
        cells = (
            cell.rjust(width) if heading.startswith(" ") else cell.ljust(width)
            for cell, width, heading in zip(line, widths, headings, strict=True)
        )
        print("  ".join(cells).rstrip())
