"""Draws what miniatures measured: `plots.py FIGURES.json ... --into DIRECTORY`.

Each picture is made for a light page and for a dark one: when tasks worked, and memory over
time, in each way.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

# Any throughout: figures as they are in JSON.


class Theme(NamedTuple):
    """Colours of one kind of page."""

    text: str
    grid: str
    startup: str
    waiting: str
    ways: tuple[str, ...]
    """Of the lines of memory, the last for the pattern."""
    stages: tuple[str, ...]


# Told apart with any colour vision (Okabe and Ito), brighter where the page is dark.
_STAGES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00")
_BRIGHT = ("#56b4e9", "#f0b840", "#2fc79a", "#e29bc4", "#ff8040")
THEMES = {
    "light": Theme(
        "#202428", "#d8dce0", "#a9b0b7", "#e3e7ea", ("#7b8086", "#d55e00", "#0b6e6e"), _STAGES
    ),
    "dark": Theme(
        "#d6dade", "#3a3f44", "#767d85", "#3d444b", ("#a0a6ac", "#ff8040", "#5cc8c2"), _BRIGHT
    ),
}
_WIDTH_IN = 8.0
_ROW_IN = 0.17


def draw(figures: dict[str, Any], theme: Theme, file: Path) -> None:
    """Draw one miniature into an SVG file."""
    shown = figures["shown"]
    rows = [len({span["pid"] for span in run["spans"]}) for run in shown]
    heights = [max(0.45, _ROW_IN * count) for count in rows] + [1.4, 1.4]
    figure = Figure((_WIDTH_IN, sum(heights) + 0.5 * len(heights)), layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    colours = dict(zip(_stages(shown[0]), theme.stages, strict=False))
    for ax, run in zip(axes, shown, strict=False):
        _draw_tasks(ax, run, _median(figures, run), colours, theme)
    stored, private = axes[-2:]
    _draw_memory(stored, shown, "stored_nbytes", "objects in\nthe store, MB", theme)
    _draw_memory(private, shown, "private_nbytes", "private memory of\nprocesses, MB", theme)
    # Beside the lines, not among them.
    stored.legend(loc="lower left", bbox_to_anchor=(0, 0.97), frameon=False, ncols=len(shown))
    private.set_xlabel("seconds since the workflow began")
    private.set_xlim(0, max(run["makespan_s"] for run in shown) * 1.02)
    key = _stage_key(figures, theme)
    figure.legend(handles=key, loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(file, transparent=True, metadata={"Date": None})


def _median(figures: dict[str, Any], run: dict[str, Any]) -> float:
    return float(statistics.median(figures["makespans_s"][run["way"]]))


def _stages(run: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(span["stage"] for span in run["spans"]))


def _stage_key(figures: dict[str, Any], theme: Theme) -> list[Patch]:
    stages = zip(_stages(figures["shown"][0]), theme.stages, strict=False)
    key = [Patch(color=colour, label=stage) for stage, colour in stages]
    if figures["options"].get("startup"):
        key.append(Patch(color=theme.startup, label="start-up"))
    key.append(Patch(color=theme.waiting, label="fetches or awaits its input"))
    return key


def _draw_tasks(
    ax: Axes, run: dict[str, Any], median_s: float, colours: dict[str, str], theme: Theme
) -> None:
    """One row for each worker."""
    workers = list(dict.fromkeys(span["pid"] for span in run["spans"]))
    for span in run["spans"]:
        row = workers.index(span["pid"])
        for begin, end, colour in (
            (span["begun"], span["started"], theme.startup),
            (span["started"], span["supplied"], theme.waiting),
            (span["supplied"], span["ended"], colours[span["stage"]]),
        ):
            ax.barh(row, end - begin, 0.8, begin, color=colour, linewidth=0)
    ax.axvline(run["makespan_s"], color=theme.text, linewidth=1, linestyle=":")
    ax.set_title(f"{run['way']}: {median_s:.2f} s", loc="left", fontsize=10, fontweight="bold")
    ax.set_ylabel("workers")
    ax.set_yticks([])
    ax.invert_yaxis()


def _draw_memory(
    ax: Axes, shown: list[dict[str, Any]], field: str, label: str, theme: Theme
) -> None:
    column = ("at", "private_nbytes", "stored_nbytes").index(field)
    for run, colour in zip(shown, (*theme.ways[: len(shown) - 1], theme.ways[-1]), strict=True):
        times = [sample[0] for sample in run["memory"]]
        megabytes = [sample[column] / 1e6 for sample in run["memory"]]
        ax.plot(times, megabytes, color=colour, label=run["way"], linewidth=1.8)
    ax.set_ylabel(label)
    ax.set_ylim(bottom=0)
    ax.grid(axis="y", color=theme.grid, linewidth=0.6)


def _style(theme: Theme) -> Any:
    names = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    return {
        **dict.fromkeys(names, theme.text),
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        # Text stays text, and files are the same each time.
        "svg.fonttype": "none",
        "svg.hashsalt": "miniatures",
        "font.family": "sans-serif",
    }


def main() -> int:
    """Draw each file named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", nargs="+", type=Path, metavar="FIGURES.json")
    parser.add_argument("--into", type=Path, required=True, metavar="DIRECTORY")
    options = parser.parse_args()
    options.into.mkdir(parents=True, exist_ok=True)
    for path in options.figures:
        figures = json.loads(path.read_text("utf-8"))
        for name, theme in THEMES.items():
            with mpl.rc_context(_style(theme)):
                draw(figures, theme, options.into / f"{figures['name']}-{name}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
