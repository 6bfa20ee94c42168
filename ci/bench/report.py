"""How measured rows are shown and kept."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from samples import Estimate, median_of, ratio_of


@dataclass(frozen=True)
class Row:
    """One measured thing, ours beside theirs if there is any; `ratio` is theirs over ours."""

    name: str
    unit: str
    ours: Estimate
    theirs: Estimate | None
    ratio: Estimate | None
    wanted: str | None
    met: bool | None

    @classmethod
    def single(
        cls, name: str, unit: str, ours: float, theirs: float, *, wanted: str, met: bool
    ) -> Self:
        """A row of figures that do not vary, such as a size."""
        mine, peers = Estimate(ours, ours, ours), Estimate(theirs, theirs, theirs)
        ratio = Estimate(*[theirs / ours] * 3) if ours else None
        return cls(name, unit, mine, peers, ratio, wanted, met)

    @classmethod
    def compared(
        cls, name: str, ours: Sequence[float], theirs: Sequence[float], *, wanted: float | None
    ) -> Self:
        """A row of two interleaved series.

        Args:
            name: What was measured.
            ours: In ms.
            theirs: As many.
            wanted: How many times as long theirs should take at least, if that is a target.
        """
        ratio = ratio_of(theirs, ours)
        return cls(
            name,
            "ms",
            median_of(ours),
            median_of(theirs),
            ratio,
            wanted=None if wanted is None else f">= {wanted:.3g}x",
            met=None if wanted is None else ratio.median >= wanted,
        )

    def cells(self) -> list[str]:
        """The row as text, in the order of `HEADINGS`."""
        verdict = {None: "", True: "met", False: "MISSED"}[self.met]
        return [
            self.name,
            self.unit,
            _shown(self.ours),
            _shown(self.theirs) if self.theirs else "",
            _shown(self.ratio, "x") if self.ratio else "",
            self.wanted or "",
            verdict,
        ]


HEADINGS = ["measured", "unit", "ours", "theirs", "theirs / ours", "wanted", ""]


def _shown(estimate: Estimate, suffix: str = "") -> str:
    text = f"{estimate.median:.3g}{suffix}"
    if estimate.low == estimate.high:
        return text
    return f"{text} [{estimate.low:.3g}, {estimate.high:.3g}]"


def as_markdown(rows: list[Row]) -> str:
    """A table that reads as well in a terminal as on a page."""
    table = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEADINGS))]
    lines = [
        f"| {' | '.join(cell.ljust(n) for cell, n in zip(line, widths, strict=True))} |"
        for line in table
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def write_json(rows: list[Row], path: Path) -> None:
    """Keep the figures for later comparison."""
    path.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n")
