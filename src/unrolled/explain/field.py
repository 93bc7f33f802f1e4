"""Pictures on a logarithmic scale: a field of numbers by epoch and lag, and curves that fall."""

from __future__ import annotations

import math
from collections.abc import Sequence

from unrolled.explain.labels import text
from unrolled.explain.svg import MARKERS, Series

DEEPEST = -8.0
MOST_COLUMNS, MOST_ROWS = 60, 30
WIDTH, LEFT, TOP = 620.0, 46.0, 34.0
WIDTH_OF_CHART = 350.0


def log_ratio(value: float, most: float) -> float:
    """Return log10(value / most), held above the end of the scale."""
    if most <= 0 or value <= 0:
        return DEEPEST
    return max(math.log10(value / most), DEEPEST)


def even(last: int, most: int) -> list[int]:
    """Return at most `most` multiples of 1, 2, 5, 10 ... from 0 to `last`."""
    step = 1
    while last // step + 1 > most:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return list(range(0, last + 1, step))


def thinned(count: int, most: int) -> list[int]:
    """Return at most `most` of the positions 0 to count - 1, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(k * (count - 1) / (most - 1)) for k in range(most)})


def field_map(
    rows: Sequence[Sequence[float]], names: Sequence[str], *, x_title: str, description: str
) -> str:
    """Draw each row of norms by lag, relative to its own largest, on a logarithmic scale.

    Full colour is the largest, none is 1e-8 of it or less.
    """
    chosen = thinned(len(rows), MOST_ROWS)
    longest = max(len(row) for row in rows)
    lags = thinned(longest, MOST_COLUMNS)
    cell = (WIDTH - LEFT - 8) / len(lags)
    height = 16.0
    parts = [_text(f"{x_title} →", LEFT, 14, "start", "axis")]
    for y, k in enumerate(chosen):
        top = TOP + y * height
        parts.append(_text(names[k], LEFT - 6, top + height / 2 + 4, "end", "tick"))
        most = max(rows[k])
        for x, lag in enumerate(lags):
            if lag >= len(rows[k]):
                continue
            shade = 1 - log_ratio(rows[k][lag], most) / DEEPEST
            tip = text(f"{names[k]}, lag {lag}: {rows[k][lag]:.2e}")
            parts.append(
                f'<rect x="{LEFT + x * cell:.1f}" y="{top:.1f}" width="{cell + 0.3:.1f}"'
                f' height="{height - 1:.1f}" fill="var(--accent)" fill-opacity="{shade:.3f}">'
                f"<title>{tip}</title></rect>"
            )
    bottom = TOP + len(chosen) * height + 14
    for x, lag in _labelled(lags):
        parts.append(_text(str(lag), LEFT + (x + 0.5) * cell, bottom, "middle", "tick"))
    return _svg(WIDTH, bottom + 6, description, parts, "field")


def _labelled(lags: Sequence[int]) -> list[tuple[int, int]]:
    """Return the columns that carry their lag: those nearest to even numbers."""
    nearest = {min(lags, key=lambda lag: abs(lag - each)) for each in even(lags[-1], 8)}
    return [(x, lag) for x, lag in enumerate(lags) if lag in nearest]


def decay_chart(series: Sequence[Series], *, x_title: str, y_title: str, description: str) -> str:
    """Draw positive values on a logarithmic y axis, told apart by colour, dash and marker."""
    values = [y for line in series for _, y in line.points if y > 0]
    low = math.floor(math.log10(max(min(values, default=1.0), 1e-20)))
    high = max(math.ceil(math.log10(max(values, default=1.0))), low + 1)
    far = max((x for line in series for x, _ in line.points), default=1.0) or 1.0
    places, lowest = _legend_places([line.name for line in series])
    left, right, top = 52.0, 338.0, lowest + 26
    bottom = top + 152

    def at(x: float, y: float) -> tuple[float, float]:
        up = (math.log10(y) - low) / (high - low)
        return left + x / far * (right - left), bottom - up * (bottom - top)

    parts = [
        _text(y_title, 4, 14, "start", "axis"),
        _text(f"{x_title} →", right, bottom + 35, "end", "axis"),
    ]
    step = max(1, math.ceil((high - low) / 6))
    for power in range(high, low - 1, -step):
        _, y = at(0, 10.0**power)
        parts.append(f'<line class="rule" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(f"1e{power}" if power else "1", left - 6, y + 4, "end", "tick"))
    for k in even(int(far), 7):
        parts.append(_text(str(k), at(k, 10.0**low)[0], bottom + 17, "middle", "tick"))
    for k, line in enumerate(series):
        points = [at(x, y) for x, y in line.points if y > 0]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="line s{k % 4}" points="{path}"/>')
        parts += [_dot(*points[p], k) for p in thinned(len(points), 8)]
        start, y = places[k]
        ends = f'x1="{start:.1f}" x2="{start + 20:.1f}" y1="{y}" y2="{y}"'
        parts.append(f'<line class="line s{k % 4}" {ends}/>')
        parts += [_dot(start + 10, y, k), _text(line.name, start + 25, y + 4, "start", "tick")]
    return _svg(WIDTH_OF_CHART, bottom + 40, description, parts, "chart")


def _legend_places(names: Sequence[str]) -> tuple[list[tuple[float, float]], float]:
    """Return where each name of a legend stands, in as many rows as it takes, and the last row."""
    places, x, y = [], 4.0, 32.0
    for name in names:
        wide = 38 + 6.8 * len(name)
        if x > 4 and x + wide > WIDTH_OF_CHART:
            x, y = 4.0, y + 17
        places.append((x, y))
        x += wide
    return places, y


def _dot(x: float, y: float, k: int) -> str:
    kind = f'class="dot s{k % 4}"'
    shape = MARKERS[k % len(MARKERS)]
    if shape == "circle":
        return f'<circle {kind} cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
    if shape == "square":
        return f'<rect {kind} x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6"/>'
    tip = -4.5 if shape == "diamond" else 3.5
    corners = f"{x:.1f},{y - 4.5:.1f} {x + 4:.1f},{y:.1f} {x:.1f},{y - tip:.1f} {x - 4:.1f},{y:.1f}"
    return f'<polygon {kind} points="{corners}"/>'


def _text(content: str, x: float, y: float, anchor: str, kind: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{text(content)}</text>'


def _svg(w: float, h: float, description: str, parts: Sequence[str], kind: str) -> str:
    least = ' style="min-width:430px;max-width:100%;height:auto"' if kind == "field" else ""
    return (
        f'<svg class="{kind}" role="img" aria-label="{text(description)}" width="{w:.0f}"{least}'
        f' height="{h:.0f}" viewBox="0 0 {w:.0f} {h:.0f}">{"".join(parts)}</svg>'
    )
