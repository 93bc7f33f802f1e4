"""Pictures as inline SVG, coloured by the page's CSS variables to follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from unrolled.explain.alignment import Weights
from unrolled.explain.labels import short, shown, text, width

CHART_WIDTH = 350
FONT = 13
LEAST_SCALE = 0.76
LARGE_CELL, SMALL_CELL = 34, 20
MOST_NUMBERED_COLUMNS = 20
MOST_MARKERS = 60
LEGEND_ROW = 18.0
HAIR = 0.01
NUMBERED_FROM = 0.05
# Above this share of the accent colour a cell is so dark (light, on a dark page) that its number
# needs the other text colour; with the colours of `style` both keep a contrast of 4.3 or more.
STRONG = 0.67
SLANT = math.radians(60)
CENTRED = ' dominant-baseline="central"'
MARKERS = ("circle", "square", "diamond", "triangle")


@dataclass(frozen=True)
class Series:
    """A line of a chart: its name and one point (x, y) for every value there is."""

    name: str
    points: tuple[tuple[float, float], ...]


def heat_map(
    weights: Weights,
    target: Sequence[str],
    source: Sequence[str],
    *,
    target_title: str,
    source_title: str,
    description: str,
    numbers: Sequence[Sequence[str]] | None = None,
) -> str:
    """Draw weights [T, S] as a grid: target tokens down, source tokens across, dark is heavy.

    Each row's largest weight is framed. Cells hold their weight as a number where there is room,
    and always as a tooltip; `numbers` [T, S] stand in the place of the weights. `description` is
    what a screen reader says.
    """
    columns, rows = [short(token) for token in source], [short(token) for token in target]
    numbered = len(columns) <= MOST_NUMBERED_COLUMNS
    cell = LARGE_CELL if numbered else SMALL_CELL
    slanted = max(map(width, columns), default=0) * FONT > cell
    widest = max(map(width, columns), default=0) * FONT
    left = max(map(width, rows), default=0) * FONT + 26
    top = (widest * math.sin(SLANT) if slanted else FONT) + 30
    right = widest * math.cos(SLANT) + 4 if slanted else 4
    parts = [
        _column_label(c, left + (s + 0.5) * cell, top - 7, slanted) for s, c in enumerate(columns)
    ]
    for t, name in enumerate(rows):
        middle = top + (t + 0.5) * cell
        parts.append(_text(name, left - 7, middle, "end", extra=CENTRED))
        best = int(weights[t].argmax())
        for s in range(len(columns)):
            tip = f"{shown(target[t])} ← {shown(source[s])}: {weights[t, s]:.3f}"
            number = None if numbers is None else numbers[t][s]
            if number:
                tip += f" ({number})"
            place = (left + s * cell, top + t * cell, cell)
            parts.append(
                _cell(
                    float(weights[t, s]),
                    place,
                    tip,
                    framed=s == best,
                    numbered=numbered,
                    number=number,
                )
            )
    across, down = f"{source_title} →", f"← {target_title}"
    full_width = left + max(len(columns) * cell + right, width(across) * FONT)
    full_height = top + max(len(rows) * cell, width(down) * FONT) + 4
    parts.append(_text(across, left, 14, "start", kind="axis"))
    turned = f' transform="rotate(-90 12 {top:.0f})"'
    parts.append(_text(down, 12, top, "end", kind="axis", extra=turned))
    return _svg(full_width, full_height, description, parts, kind="grid")


def _column_label(label: str, x: float, y: float, slanted: bool) -> str:
    if not slanted:
        return _text(label, x, y, "middle")
    turn = f' transform="rotate({-math.degrees(SLANT):.0f} {x:.1f} {y:.1f})"'
    return _text(label, x, y, "start", extra=turn)


def _cell(
    weight: float,
    place: tuple[float, float, int],
    tip: str,
    *,
    framed: bool,
    numbered: bool,
    number: str | None = None,
) -> str:
    x, y, size = place
    frame = ' class="peak"' if framed else ""
    box = (
        f'<g><title>{text(tip)}</title><rect{frame} x="{x + 1:.1f}" y="{y + 1:.1f}"'
        f' width="{size - 2}" height="{size - 2}" rx="3" fill="var(--accent)"'
        f' fill-opacity="{min(max(weight, 0.0), 1.0):.3f}"/>'
    )
    if numbered and (weight >= NUMBERED_FROM if number is None else number):
        kind = "on" if weight >= STRONG else "in"
        number = f"{weight:.2f}" if number is None else number
        box += _text(number, x + size / 2, y + size / 2, "middle", kind=kind, extra=CENTRED)
    return box + "</g>"


@dataclass(frozen=True)
class _Frame:
    """Where a chart's values lie: x from `low` to `high`, y from `bottom_y` to `top_y`."""

    low: float
    high: float
    top_y: float
    bottom_y: float = 0.0
    left: float = 46.0
    right: float = 338.0
    top: float = 58.0
    bottom: float = 210.0

    def at(self, x: float, y: float) -> tuple[float, float]:
        span = self.high - self.low
        across = (x - self.low) / span if span else 0.5
        up = (y - self.bottom_y) / (self.top_y - self.bottom_y)
        return (
            self.left + across * (self.right - self.left),
            self.bottom - up * (self.bottom - self.top),
        )


def line_chart(
    series: Sequence[Series],
    *,
    x_title: str,
    y_title: str,
    description: str,
    marked: float | None = None,
    band: Sequence[tuple[float, float, float]] = (),
    x_ticks: Sequence[tuple[float, str]] = (),
) -> str:
    """Draw lines over a common x with whole numbers, told apart by colour, dash and marker.

    The y axis begins at 0, or below it where a value does. `marked` is an x that gets an upright
    line, called `best`; `band` is an area behind the lines, x with its lowest and highest y.
    `x_ticks` are places and names in the stead of whole numbers, for an x that is no count.
    """
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points]
    ys += [y for _, *ends in band for y in ends]
    # What lies below 0 by a hair does not move the axis.
    level = min(ys) >= -HAIR * max(ys)
    ticks = _ticks(max(ys)) if level else round_ticks([0.0, *ys])
    left = max(46.0, room(ticks))
    legend, lower = _legend_places(left, [line.name for line in series])
    frame = _Frame(
        min(xs), max(xs), ticks[-1], ticks[0], left=left, top=58.0 + lower, bottom=210.0 + lower
    )
    parts = _axes(frame, ticks, x_title, y_title, x_ticks)
    if band:
        edge = [(x, low) for x, low, _ in band] + [(x, high) for x, _, high in reversed(band)]
        path = " ".join("{:.1f},{:.1f}".format(*frame.at(x, y)) for x, y in edge)
        parts.append(f'<polygon class="band" points="{path}"/>')
    if marked is not None:
        x, _ = frame.at(marked, ticks[0])
        parts.append(
            f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.top}" y2="{frame.bottom}"/>'
        )
        anchor = "end" if x > frame.right - 30 else "middle"
        parts.append(_text("best", x, frame.top - 5, anchor, kind="tick"))
    for k, (line, place) in enumerate(zip(series, legend, strict=True)):
        tips = [f"{line.name}, {x:g}: {y:.4g}" for x, y in line.points]
        parts.append(_line([frame.at(x, y) for x, y in line.points], k, tips))
        parts.append(_legend(line.name, place, k))
    return _svg(CHART_WIDTH, 250 + lower, description, parts, kind="chart")


def named(tick: float) -> str:
    """Return a tick of an axis as people write it: 1,250,000 and 0.0025, powers far from 1."""
    plain = tick == 0 or 1e-4 <= abs(tick) < 1e8
    return f"{tick:,.10g}" if plain else f"{tick:g}"


def room(ticks: Sequence[float]) -> float:
    """Return how wide the room left of a y axis must be for its ticks."""
    return max(width(named(tick)) for tick in ticks) * FONT + 10


def _legend_places(
    left: float, names: Sequence[str]
) -> tuple[list[tuple[float, float, float]], float]:
    """Return x, y and the line's length of each name of a legend, and how far it pushes down.

    Names that have no room beside each other stand in rows.
    """
    wide = [width(name) * FONT * 0.9 for name in names]
    start, gap = left, 48.0
    spare = (CHART_WIDTH - 4 - sum(wide)) / len(names)
    if left + sum(wide) + gap * len(names) > CHART_WIDTH + 10:
        start, gap = 2.0, spare if spare >= 30 else gap
    in_rows = spare < 30
    places, x, y = [], start, 32.0
    for each in wide:
        if in_rows and x > start and x + gap - 18 + each > CHART_WIDTH:
            x, y = start, y + LEGEND_ROW
        places.append((x, y, gap - 24))
        x += gap + each
    return places, y - 32.0


def _axes(
    frame: _Frame,
    ticks: Sequence[float],
    x_title: str,
    y_title: str,
    x_ticks: Sequence[tuple[float, str]],
) -> list[str]:
    parts = [
        _text(y_title, 4, 14, "start", kind="axis"),
        _text(f"{x_title} →", frame.right, frame.bottom + 35, "end", kind="axis"),
    ]
    for tick in ticks:
        _, y = frame.at(frame.low, tick)
        ends = f'x1="{frame.left}" x2="{frame.right}" y1="{y:.1f}" y2="{y:.1f}"'
        parts.append(f'<line class="rule" {ends}/>')
        parts.append(_text(named(tick), frame.left - 6, y, "end", kind="tick", extra=CENTRED))
    for x, name in x_ticks or [(x, f"{x:g}") for x in _whole_ticks(frame.low, frame.high)]:
        parts.append(_text(name, frame.at(x, 0)[0], frame.bottom + 17, "middle", kind="tick"))
    return parts


def _legend(name: str, place: tuple[float, float, float], k: int) -> str:
    x, y, size = place
    ends = f'x1="{x:.1f}" x2="{x + size:.1f}" y1="{y:.0f}" y2="{y:.0f}"'
    label = _text(name, x + size + 6, y, "start", kind="tick", extra=CENTRED)
    return f'<line class="line s{k % 4}" {ends}/>' + _marker(x + size / 2, y, k, "") + label


def _line(points: Sequence[tuple[float, float]], k: int, tips: Sequence[str]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    every = max(1, math.ceil(len(points) / MOST_MARKERS))
    marked = list(zip(points, tips, strict=True))[::every]
    dots = "".join(_marker(x, y, k, tip) for (x, y), tip in marked)
    return f'<polyline class="line s{k % 4}" points="{path}"/>{dots}'


def _marker(x: float, y: float, k: int, tip: str) -> str:
    shape = MARKERS[k % len(MARKERS)]
    kind = f'class="dot s{k % 4}"'
    title = f"<title>{text(tip)}</title>" if tip else ""
    if shape == "circle":
        return f'<circle {kind} cx="{x:.1f}" cy="{y:.1f}" r="3.5">{title}</circle>'
    offsets = {
        "square": ((-3, -3), (3, -3), (3, 3), (-3, 3)),
        "diamond": ((0, -4.5), (4.5, 0), (0, 4.5), (-4.5, 0)),
        "triangle": ((0, -4.5), (4, 3.5), (-4, 3.5)),
    }[shape]
    corners = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in offsets)
    return f'<polygon {kind} points="{corners}">{title}</polygon>'


def _ticks(highest: float) -> list[float]:
    """Return 4 to 6 round numbers from 0 to `highest` or just above."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    return [round(k * step, 10) for k in range(math.ceil(highest / step - 1e-9) + 1)]


def round_ticks(values: Sequence[float]) -> list[float]:
    """Return 4 to 7 round numbers from below the least value to above the largest."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low <= 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{k * step:.10g}") for k in range(first, last + 1)]


def _whole_ticks(low: float, high: float) -> list[int]:
    step = max(1, math.ceil((high - low) / 8))
    return list(range(math.ceil(low), math.floor(high) + 1, step))


def _text(
    content: str, x: float, y: float, anchor: str, *, kind: str = "label", extra: str = ""
) -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>'
        f"{text(content)}</text>"
    )


def _svg(w: float, h: float, description: str, parts: Sequence[str], *, kind: str) -> str:
    # A grid shrinks to fit a narrow screen as far as its numbers stay readable, then it scrolls.
    least = f' style="min-width:{LEAST_SCALE * w:.0f}px"' if kind == "grid" else ""
    return (
        f'<svg class="{kind}" role="img" aria-label="{text(description)}" width="{w:.0f}"{least}'
        f' height="{h:.0f}" viewBox="0 0 {w:.0f} {h:.0f}">{"".join(parts)}</svg>'
    )
