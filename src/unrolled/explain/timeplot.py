"""A series over time as inline SVG: its past, its forecast with intervals, and what came."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from unrolled.explain.labels import text, width
from unrolled.explain.svg import CENTRED, FONT, _svg, _text, named, room, round_ticks

WIDTH, HEIGHT = 720.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 706.0, 58.0, 240.0
OPACITY = (0.30, 0.16, 0.10, 0.07)


@dataclass(frozen=True)
class Band:
    """An interval of so many per cent: the low and the high end of each step of the forecast."""

    level: float
    low: Sequence[float]
    high: Sequence[float]


def time_plot(
    past: Sequence[float],
    forecast: Sequence[float],
    *,
    stamps: Sequence[str],
    bands: Sequence[Band] = (),
    truth: Sequence[float] = (),
    y_title: str,
    description: str,
) -> str:
    """Draw a past and, after it, a forecast with its intervals and the truth where it is known.

    `stamps` name the steps of both. Values that are missing (NaN) leave a gap. The narrower an
    interval, the darker.
    """
    every = [*past, *forecast, *truth, *(v for b in bands for v in (*b.low, *b.high))]
    ticks = round_ticks([v for v in every if math.isfinite(v)])
    low, high = ticks[0], ticks[-1]
    left = max(LEFT, room(ticks))
    steps = len(past) + len(forecast)

    def at(step: int, value: float) -> tuple[float, float]:
        across = step / max(steps - 1, 1)
        up = (value - low) / (high - low)
        return left + across * (RIGHT - left), BOTTOM - up * (BOTTOM - TOP)

    parts = [_text(y_title, 4, 14, "start", kind="axis")]
    for tick in ticks:
        _, y = at(0, tick)
        parts.append(f'<line class="rule" x1="{left}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(named(tick), left - 6, y, "end", kind="tick", extra=CENTRED))
    parts += _stamps(stamps, at)
    begin = len(past)
    for k, band in enumerate(sorted(bands, key=lambda each: -each.level)):
        opacity = OPACITY[min(len(bands) - 1 - k, len(OPACITY) - 1)]
        edge = [at(begin + h, v) for h, v in enumerate(band.high)]
        edge += [at(begin + h, v) for h, v in reversed(list(enumerate(band.low)))]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in edge)
        tip = f"{band.level:g} % of what comes should lie in here"
        parts.append(
            f'<polygon points="{points}" fill="var(--s1)" fill-opacity="{opacity}">'
            f"<title>{text(tip)}</title></polygon>"
        )
    x, _ = at(begin, low)
    parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{BOTTOM}"/>')
    lines = [("past", 0, list(past), 0), ("forecast", 1, list(forecast), begin)]
    if any(map(math.isfinite, truth)):
        lines.append(("what came", 2, list(truth), begin))
    start = LEFT
    for name, kind, values, first in lines:
        parts += _broken_line([(first + t, v) for t, v in enumerate(values)], kind, at)
        parts.append(_key(name, kind, start))
        start += 48 + width(name) * FONT * 0.95
    for band in sorted(bands, key=lambda each: each.level):
        k = sorted(b.level for b in bands).index(band.level)
        parts.append(_shade(f"{band.level:g} %", OPACITY[min(k, len(OPACITY) - 1)], start))
        start += 74
    return _svg(WIDTH, HEIGHT, description, parts, kind="plot")


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


def _key(name: str, kind: int, x: float) -> str:
    line = f'<line class="line s{kind}" x1="{x:.1f}" x2="{x + 24:.1f}" y1="36" y2="36"/>'
    return line + _text(name, x + 30, 36, "start", kind="tick", extra=CENTRED)


def _shade(name: str, opacity: float, x: float) -> str:
    box = (
        f'<rect x="{x:.1f}" y="29" width="18" height="14" fill="var(--s1)"'
        f' fill-opacity="{opacity}"/>'
    )
    return box + _text(name, x + 24, 36, "start", kind="tick", extra=CENTRED)


def _stamps(stamps: Sequence[str], at: object) -> list[str]:
    """Name about five steps under the axis."""
    assert callable(at)
    last = len(stamps) - 1
    widest = max(map(width, stamps), default=1.0) * FONT
    count = max(2, min(6, int((RIGHT - LEFT) / (widest + 24)) + 1))
    chosen = sorted({round(k * last / (count - 1)) for k in range(count)})
    found = []
    for step in chosen:
        x, _ = at(step, 0.0)
        anchor = "start" if step == 0 else "end" if step == last else "middle"
        found.append(_text(stamps[step], x, BOTTOM + 18, anchor, kind="tick"))
    found.append(_text("time →", RIGHT, BOTTOM + 40, "end", kind="axis"))
    return found
