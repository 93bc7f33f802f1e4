"""What the estimators take as X and y: sequences, arrays, series, data frames of any library."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from unrolled.data.read import read_frame
from unrolled.data.table import Table, labels, texts
from unrolled.errors import DataError

Values = Iterable[Any]


def read_texts(X: Values | str, column: str, *, name: str) -> list[str]:
    """Return the texts of X: its `column` or only column where it is a data frame.

    Raises DataError, naming the row, for a text that is empty, missing or no text.
    """
    return texts(_table(X, column, name), column)


def read_labels(y: Values, column: str, *, name: str) -> tuple[list[str], dict[str, Any]]:
    """Return the labels of y as text, and for each of these texts the label as it was given.

    Raises DataError, naming the row, for a label that is empty, missing, NaN or no label.
    """
    table = _table(y, column, name)
    found = labels(table, column)
    return found, dict(zip(found, table.column(column), strict=True))


def second(X: Values, y: Values | None, column: str, *, name: str) -> Values:
    """Return y, or `column` of X where y is left out; DataError where X is no data frame then."""
    if y is not None:
        return y
    if not _is_frame(X):
        raise DataError(f"{name}: y is missing; give it, or a data frame that holds both")
    found: list[Any] = read_frame(X, [column], name=name).column(column)
    return found


def check_lengths(name: str, **columns: list[str]) -> None:
    """Raise DataError where two columns have not the same length."""
    (a, first), (b, second) = columns.items()
    if len(first) != len(second):
        raise DataError(f"{name}: {len(first)} {a} but {len(second)} {b}")


def _is_frame(values: object) -> bool:
    return hasattr(type(values), "columns")


def _table(values: Any, column: str, name: str) -> Table:
    if isinstance(values, (str, bytes)):
        raise DataError(f"{name}: expected a sequence of values for {column!r}, found one text")
    if _is_frame(values):
        frame = read_frame(values, name=name)
        only = len(frame.columns) == 1
        chosen = next(iter(frame.columns)) if only else column
        return Table(name, {column: frame.column(chosen)}, frame.rows)
    items = values.to_list() if hasattr(values, "to_list") else list(values)
    items = [item.item() if isinstance(item, np.generic) else item for item in items]
    return Table(name, {column: items}, list(range(1, len(items) + 1)))
