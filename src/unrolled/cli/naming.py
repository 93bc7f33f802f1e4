"""What the columns of answers are called, beside those that a table has already."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from unrolled.errors import DataError

PREDICTION = "prediction"


def named(answer: dict[str, Any], column: str) -> dict[str, Any]:
    """Return the answer with `column` in the place of `prediction` and before other names."""
    if column == PREDICTION:
        return answer
    return {column if k == PREDICTION else f"{column}_{k}": v for k, v in answer.items()}


def check_free(names: Iterable[str], columns: Iterable[str], path: str) -> None:
    """Raise DataError where a table has a column of the name of one that is to be written."""
    held = set(columns)
    taken = [name for name in names if name in held]
    if taken:
        raise DataError(
            f"{path}: has a column {taken[0]!r} already; "
            "give --column NAME, another name for the answers"
        )
