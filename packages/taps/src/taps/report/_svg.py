"""Charts as SVG text that needs nothing else: no script, no fonts, no network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

__all__ = ["Bar", "Span", "gantt", "stacked_bars"]

_WIDTH = 1000
_LABEL_WIDTH = 170
_VALUE_WIDTH = 90
_BAR_HEIGHT = 26
_LANE_HEIGHT = 22
_GAP = 8
_NARROWEST = 0.6
_MOST_LANES = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """Something that one lane did for a while; times in seconds from the start of the axis."""

    start: float
    end: float
    kind: str
    title: str


@dataclasses.dataclass(frozen=True, slots=True)
class Bar:
    """A row of a chart: parts by kind, in the unit of the axis, with a text at its end."""

    label: str
    parts: Mapping[str, float]
    text: str
    titles: Mapping[str, str]


def stacked_bars(bars: Sequence[Bar], classes: Mapping[str, str]) -> str:
    """Horizontal bars on one scale.

    Args:
        bars: Top to bottom. Parts are drawn in the order of ``classes``.
        classes: CSS class of each kind of part.
    """
    longest = max((sum(bar.parts.values()) for bar in bars), default=0.0) or 1.0
    scale = (_WIDTH - _LABEL_WIDTH - _VALUE_WIDTH) / longest
    rows = (
        row
        for index, bar in enumerate(bars)
        for row in _bar_row(bar, index * (_BAR_HEIGHT + _GAP), scale, classes)
    )
    return _svg(len(bars) * (_BAR_HEIGHT + _GAP), rows)


def _bar_row(bar: Bar, y: float, scale: float, classes: Mapping[str, str]) -> Iterator[str]:
    middle = y + _BAR_HEIGHT / 2
    yield _text(_LABEL_WIDTH - 12, middle, bar.label, "label end")
    x = float(_LABEL_WIDTH)
    for kind, css in classes.items():
        width = bar.parts.get(kind, 0.0) * scale
        if width > 0:
            yield _rect(x, y, width, _BAR_HEIGHT, css, bar.titles.get(kind, kind))
        x += width
    yield _text(x + 10, middle, bar.text, "value")


def gantt(lanes: Mapping[str, Sequence[Span]], classes: Mapping[str, str], end: float) -> str:
    """One lane per worker over a time axis from 0 to ``end`` seconds.

    Spans narrower than about a pixel are drawn as one with their neighbours, so that
    the size of the chart is bounded, however many tasks there are. At most 64 lanes are
    drawn; a line says how many are left out.

    Args:
        lanes: Spans of each worker, in the order they start.
        classes: CSS class of each kind; other kinds get ``k-other``.
        end: Seconds at the right edge, above zero.
    """
    scale = (_WIDTH - _LABEL_WIDTH - 20) / end
    shown = list(lanes.items())[:_MOST_LANES]
    height = len(shown) * _LANE_HEIGHT
    parts = [*_axis(end, scale, height)]
    for index, (worker, spans) in enumerate(shown):
        y = index * _LANE_HEIGHT
        parts.append(_text(_LABEL_WIDTH - 12, y + _LANE_HEIGHT / 2, worker, "label end"))
        for span in _merged(spans, _NARROWEST / scale):
            x, width = _LABEL_WIDTH + span.start * scale, (span.end - span.start) * scale
            css = classes.get(span.kind, "k-other")
            parts.append(_rect(x, y + 2, max(width, _NARROWEST), _LANE_HEIGHT - 4, css, span.title))
    hidden = len(lanes) - len(shown)
    if hidden:
        parts.append(_text(_LABEL_WIDTH, height + 34, f"and {hidden} more workers", "value"))
    return _svg(height + (44 if hidden else 24), parts)


def _merged(spans: Iterable[Span], narrowest: float) -> Iterator[Span]:
    run: list[Span] = []
    for span in spans:
        fits = run and span.end - run[0].start <= narrowest
        if run and not fits:
            yield _as_one(run)
            run = []
        run.append(span)
    if run:
        yield _as_one(run)


def _as_one(spans: Sequence[Span]) -> Span:
    if len(spans) == 1:
        return spans[0]
    longest = max(spans, key=lambda span: span.end - span.start)
    title = f"{len(spans)} tasks, the longest: {longest.title}"
    return Span(spans[0].start, max(span.end for span in spans), longest.kind, title)


def _axis(end: float, scale: float, height: float) -> Iterator[str]:
    step = _round_step(end / 8)
    for tick in range(math.floor(end / step) + 1):
        x = _LABEL_WIDTH + tick * step * scale
        yield f'<line class="grid" x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{height}"/>'
        yield _text(x, height + 14, f"{tick * step:g} s", "tick")


def _round_step(least: float) -> float:
    """The smallest of 1, 2 or 5 times a power of ten that is at least ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)


def _svg(height: float, parts: Iterable[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:g}" role="img" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def _rect(x: float, y: float, width: float, height: float, css: str, title: str) -> str:
    return (
        f'<rect class="{css}" x="{x:.2f}" y="{y:g}" width="{width:.2f}" height="{height:g}" '
        f'rx="2"><title>{escape(title)}</title></rect>'
    )


def _text(x: float, y: float, text: str, css: str) -> str:
    return f'<text class="{css}" x="{x:.1f}" y="{y:g}" dy="0.35em">{escape(text)}</text>'
