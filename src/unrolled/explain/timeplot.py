"""A series over time as inline SVG: its past, its forecast with intervals, and what came."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from unrolled.explain.labels import fitted, text, width
from unrolled.explain.svg import CENTRED, FONT, _svg, _text, named, room, round_ticks

WIDTH, NEAR_WIDTH, HEIGHT = 720.0, 350.0, 300.0
LEFT, MARGIN, TOP, BOTTOM = 62.0, 14.0, 58.0, 240.0
# A near plot shows so many steps of the past, or twice the forecast's.
LEAST_PAST = 12
LEGEND, LEGEND_ROW, STAMP_ROW = 36.0, 20.0, 16.0
OPACITY = (0.30, 0.16, 0.10, 0.07)


@dataclass(frozen=True)
class Band:
    """An interval of so many per cent: the low and the high end of each step of the forecast."""

    level: float
    low: Sequence[float]
    high: Sequence[float]


class _Area(NamedTuple):
    """Where a plot's values lie, and whether its first and last stamp stand below each other."""

    left: float
    right: float
    top: float
    bottom: float
    stacked: bool


def time_plot(
    past: Sequence[float],
    forecast: Sequence[float],
    *,
    stamps: Sequence[str],
    bands: Sequence[Band] = (),
    truth: Sequence[float] = (),
    y_title: str,
    description: str,
    near: bool = False,
) -> str:
    """Draw a past and, after it, a forecast with its intervals and the truth where it is known.

    `stamps` name the steps of both. Values that are missing (NaN) leave a gap. The narrower an
    interval, the darker. A plot that is `near` is half as wide, for a narrow screen, and shows only
    the end of the past.
    """
    if near:
        gone = max(0, len(past) - max(2 * len(forecast), LEAST_PAST))
        past, stamps = past[gone:], stamps[gone:]
    every = [*past, *forecast, *truth, *(v for b in bands for v in (*b.low, *b.high))]
    ticks = round_ticks([v for v in every if math.isfinite(v)])
    low, high = ticks[0], ticks[-1]
    wide = NEAR_WIDTH if near else WIDTH
    begin, steps = len(past), len(past) + len(forecast)
    lines = [("past", 0, list(past), 0), ("forecast", 1, list(forecast), begin)]
    if any(map(math.isfinite, truth)):
        lines.append(("what came", 2, list(truth), begin))
    legend, rows = _legend([name for name, *_ in lines], [band.level for band in bands], wide)
    area = _area(max(LEFT, room(ticks)), wide - MARGIN, rows, stamps)

    def at(step: int, value: float) -> tuple[float, float]:
        across = step / max(steps - 1, 1)
        up = (value - low) / (high - low)
        return (
            area.left + across * (area.right - area.left),
            area.bottom - up * (area.bottom - area.top),
        )

    parts = [_text(fitted(y_title, (wide - 8) / FONT), 4, 14, "start", kind="axis")]
    for tick in ticks:
        _, y = at(0, tick)
        ends = f'x1="{area.left}" x2="{area.right}" y1="{y:.1f}" y2="{y:.1f}"'
        parts.append(f'<line class="rule" {ends}/>')
        parts.append(_text(named(tick), area.left - 6, y, "end", kind="tick", extra=CENTRED))
    parts += _stamps(stamps, at, area)
    parts += _shades(bands, begin, at)
    x, _ = at(begin, low)
    ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="{area.top}" y2="{area.bottom}"'
    parts.append(f'<line class="mark" {ends}/>')
    for _, kind, values, first in lines:
        parts += _broken_line([(first + t, v) for t, v in enumerate(values)], kind, at)
    height = area.bottom + HEIGHT - BOTTOM + (STAMP_ROW if area.stacked else 0.0)
    kind_of = "near" if near else "plot"
    return _svg(wide, height, description, [*parts, *legend], kind=kind_of)


def _shades(bands: Sequence[Band], begin: int, at: object) -> list[str]:
    """Return the intervals as areas, the widest behind the others."""
    assert callable(at)
    found = []
    for k, band in enumerate(sorted(bands, key=lambda each: -each.level)):
        opacity = OPACITY[min(len(bands) - 1 - k, len(OPACITY) - 1)]
        edge = [at(begin + h, v) for h, v in enumerate(band.high)]
        edge += [at(begin + h, v) for h, v in reversed(list(enumerate(band.low)))]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in edge)
        tip = f"{band.level:g} % of what comes should lie in here"
        found.append(
            f'<polygon points="{points}" fill="var(--s1)" fill-opacity="{opacity}">'
            f"<title>{text(tip)}</title></polygon>"
        )
    return found


def _area(left: float, right: float, rows: int, stamps: Sequence[str]) -> _Area:
    """Return where values lie below so many rows of a legend."""
    lower = (rows - 1) * LEGEND_ROW
    ends = sum(width(stamps[k]) for k in (0, -1)) * FONT if len(stamps) > 1 else 0.0
    return _Area(left, right, TOP + lower, BOTTOM + lower, ends > right - left - 8)


def _legend(names: Sequence[str], levels: Sequence[float], wide: float) -> tuple[list[str], int]:
    """Return the keys of lines and of intervals, and the number of rows that they take."""
    start = LEFT if wide == WIDTH else 4.0
    x, row = start, 0
    parts = []
    shades = [f"{level:g} %" for level in sorted(levels)]
    for k, name in enumerate((*names, *shades)):
        shade = k - len(names)
        size = 74.0 if shade >= 0 else 48 + width(name) * FONT * 0.95
        if x > start and x + size - 18 > wide:
            x, row = start, row + 1
        y = LEGEND + row * LEGEND_ROW
        if shade < 0:
            parts.append(_key(name, k, x, y))
        else:
            parts.append(_shade(name, OPACITY[min(shade, len(OPACITY) - 1)], x, y))
        x += size
    return parts, row + 1


def _broken_line(points: Sequence[tuple[int, float]], kind: int, at: object) -> list[str]:
    """Return a line for each run of values; one that stands alone becomes a dot."""
    assert callable(at)
    runs: list[list[tuple[int, float]]] = [[]]
    for step, value in points:
        if math.isfinite(value):
            runs[-1].append((step, value))
        elif runs[-1]:
            runs.append([])
    found = []
    for run in filter(None, runs):
        places = [at(step, value) for step, value in run]
        if len(run) == 1:
            x, y = places[0]
            found.append(f'<circle class="dot s{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
            continue
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        found.append(f'<polyline class="line s{kind}" points="{path}"/>')
    return found


def _key(name: str, kind: int, x: float, y: float) -> str:
    line = f'<line class="line s{kind}" x1="{x:.1f}" x2="{x + 24:.1f}" y1="{y:.0f}" y2="{y:.0f}"/>'
    return line + _text(name, x + 30, y, "start", kind="tick", extra=CENTRED)


def _shade(name: str, opacity: float, x: float, y: float) -> str:
    box = (
        f'<rect x="{x:.1f}" y="{y - 7:.0f}" width="18" height="14" fill="var(--s1)"'
        f' fill-opacity="{opacity}"/>'
    )
    return box + _text(name, x + 24, y, "start", kind="tick", extra=CENTRED)


def _stamps(stamps: Sequence[str], at: object, area: _Area) -> list[str]:
    """Name about five steps under the axis."""
    assert callable(at)
    last = len(stamps) - 1
    widest = max(map(width, stamps), default=1.0) * FONT
    count = max(2, min(6, int((area.right - LEFT) / (widest + 24)) + 1))
    chosen = sorted({round(k * last / (count - 1)) for k in range(count)})
    found = []
    for step in chosen:
        x, _ = at(step, 0.0)
        anchor = "start" if step == 0 else "end" if step == last else "middle"
        lower = STAMP_ROW if area.stacked and step == last else 0.0
        found.append(_text(stamps[step], x, area.bottom + 18 + lower, anchor, kind="tick"))
    lower = STAMP_ROW if area.stacked else 0.0
    found.append(_text("time →", area.right, area.bottom + 40 + lower, "end", kind="axis"))
    return found
