"""All rows of the quality table, one file a task."""

from __future__ import annotations

from bench.quality import classify, forecast, generate, synthetic, tag, translate
from bench.quality.row import Row


def rows() -> list[Row]:
    """Return all rows."""
    return [
        *translate.rows(),
        *classify.rows(),
        *tag.rows(),
        *forecast.rows(),
        *generate.rows(),
        *synthetic.rows(),
    ]
