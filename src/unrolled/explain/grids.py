"""A grid of values of either sign as inline SVG: units down, steps across."""

from __future__ import annotations

import math
from collections.abc import Sequence

from unrolled.explain.labels import MOST_UPRIGHT, short, text, width
from unrolled.explain.svg import FONT, SLANT

WIDEST, HIGH = 640, 16
LARGEST, SMALLEST = 26, 2
MOST_LABELS = 60


def signed_grid(
    values: Sequence[Sequence[float]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    row_title: str,
    column_title: str,
    description: str,
) -> str:
    """Draw values [R, C]: the stronger the colour, the further from 0; two colours tell the sign.

    Columns carry their names where there are at most 60 of them.
    """
    most = max((abs(v) for row in values for v in row), default=0.0) or 1.0
    cell = max(SMALLEST, min(LARGEST, WIDEST / max(1, len(columns))))
    left = max(map(width, rows), default=0) * FONT + 26
    named = len(columns) <= MOST_LABELS
    names = [short(name) for name in columns] if named else []
    lean = SLANT if max(map(len, names), default=0) > MOST_UPRIGHT else 0.0
    top = max(map(width, names), default=0) * FONT * math.sin(lean) + (26 if lean else 36)
    right = max(map(width, names), default=0) * FONT * math.cos(lean) if lean else 0.0
    parts = [_label(f"{column_title} →", left, 12, "start", "axis")]
    turned = f' transform="rotate(-90 12 {top:.0f})"'
    parts.append(_label(f"← {row_title}", 12, top, "end", "axis", turned))
    for c, name in enumerate(names):
        x = left + (c + (0.6 if lean else 0.5)) * cell
        turn = f' transform="rotate({-math.degrees(lean):.0f} {x:.1f} {top - 5:.1f})"'
        anchor = "start" if lean else "middle"
        parts.append(_label(name, x, top - 5, anchor, "label", turn if lean else ""))
    for r, row in enumerate(values):
        y = top + r * HIGH
        parts.append(_label(rows[r], left - 6, y + HIGH - 4, "end", "tick"))
        for c, value in enumerate(row):
            kind = "minus" if value < 0 else "plus"
            tip = text(f"{rows[r]}, {short(columns[c])} ({c + 1}): {value:+.3f}")
            parts.append(
                f'<rect class="{kind}" x="{left + c * cell:.1f}" y="{y:.1f}" width="{cell:.2f}"'
                f' height="{HIGH - 1}" fill-opacity="{abs(value) / most:.3f}">'
                f"<title>{tip}</title></rect>"
            )
    wide = left + max(len(columns) * cell + right, width(column_title) * FONT + 20) + 4
    high = top + max(len(values) * HIGH, width(row_title) * FONT + 20) + 4
    return (
        f'<svg class="cells" role="img" aria-label="{text(description)}" width="{wide:.0f}"'
        f' height="{high:.0f}" viewBox="0 0 {wide:.0f} {high:.0f}">{"".join(parts)}</svg>'
    )


def _label(content: str, x: float, y: float, anchor: str, kind: str, extra: str = "") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>'
        f"{text(content)}</text>"
    )
