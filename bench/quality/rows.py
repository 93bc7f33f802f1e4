"""All rows of the quality table, one file a task."""

from __future__ import annotations

from bench.quality import caption, classify, synthetic, tag, translate
from bench.quality.row import Row


def rows() -> list[Row]:
    """Return all rows."""
    every = (translate, classify, tag, synthetic, caption)
    return [row for task in every for row in task.rows()]
