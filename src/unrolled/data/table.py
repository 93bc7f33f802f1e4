"""A table of columns that remembers where each row came from, and typed views of its columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from unrolled.errors import DataError, did_you_mean

MAX_NAMES = 20


@dataclass(frozen=True)
class Table:
    """Columns of equal length read from `path`.

    `rows[i]` is the 1-based line of record i in the file, as an editor shows it; where a quoted
    field spans lines it is the first of them. Formats without lines (Parquet, data frames) count
    records from 1.
    """

    path: str
    columns: dict[str, list[Any]]
    rows: list[int]

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> list[Any]:
        """Return the values of column `name`; a `DataError` names the columns there are."""
        if name not in self.columns:
            raise DataError(f"{self.path}: {no_column(name, self.columns)}")
        return self.columns[name]

    def where(self, i: int, column: str | None = None) -> str:
        """Return where record `i` is: `"reviews.csv, row 7"`, and its column where one is given."""
        place = f"{self.path}, row {self.rows[i]}"
        return place if column is None else f"{place}, column {column!r}"


def names(items: Iterable[str]) -> str:
    """Join names for a message; past `MAX_NAMES` the rest are counted."""
    found = list(items)
    rest = len(found) - MAX_NAMES
    shown = ", ".join(found[:MAX_NAMES])
    return f"{shown} and {rest} more" if rest > 0 else shown


def no_column(name: str, columns: Iterable[str]) -> str:
    """Say that column `name` is not there, which are, and the nearest of them."""
    known = list(columns)
    return f"no column {name!r}; the columns are: {names(known)}.{did_you_mean(name, known)}"


def select(
    path: str, found: Mapping[str, list[Any]], wanted: Sequence[str] | None
) -> dict[str, Any]:
    """Return the `wanted` columns of `found` in that order, all of them where `wanted` is None."""
    if wanted is None:
        return dict(found)
    for name in wanted:
        if name not in found:
            raise DataError(f"{path}: {no_column(name, found)}")
    return {name: found[name] for name in wanted}


def check_unique(path: str, header: Sequence[str]) -> None:
    """Refuse a header that names two columns alike; unnamed ones pass, as none can ask for them."""
    first: dict[str, int] = {}
    for position, name in enumerate(header, start=1):
        if name and name in first:
            raise DataError(
                f"{path}: two columns are named {name!r} (fields {first[name]} and {position});"
                " each column needs a name of its own"
            )
        first[name] = position


def is_missing(value: object) -> bool:
    """Whether a cell holds nothing: None or a NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def texts(table: Table, column: str, *, on_empty: Literal["error", "keep"] = "error") -> list[str]:
    """Return a column as strings, unchanged.

    A value that is not text is a `DataError` with its row and column. A text of nothing but white
    space, and a missing one (None, NaN), is an error too; with `on_empty="keep"` it becomes what it
    is, or `""` where missing, so that the answers line up with the file.
    """
    result: list[str] = []
    for i, value in enumerate(table.column(column)):
        if isinstance(value, str):
            if on_empty == "error" and (not value or value.isspace()):
                raise DataError(f"{table.where(i, column)}: the text is empty")
            result.append(value)
        elif is_missing(value):
            if on_empty == "error":
                raise DataError(f"{table.where(i, column)}: the text is missing")
            result.append("")
        else:
            kind = type(value).__name__
            raise DataError(f"{table.where(i, column)}: expected text, found {value!r} ({kind})")
    return result


def labels(table: Table, column: str) -> list[str]:
    """Return a column as class labels: strings without white space around them.

    Whole numbers and booleans become their text. Refused with row and column: an empty or missing
    label, NaN (also its text, where every other label is a number), and anything else.
    """
    values = table.column(column)
    result = [_label(value, partial(table.where, i, column)) for i, value in enumerate(values)]
    nans = [i for i, label in enumerate(result) if label.lower() == "nan"]
    if nans and all(_is_number(label) for label in result):
        raise DataError(f"{table.where(nans[0], column)}: the label is NaN; expected a number")
    return result


def _label(value: object, where: Callable[[], str]) -> str:
    if isinstance(value, str):
        label = value.strip()
        if not label:
            raise DataError(f"{where()}: the label is empty")
        return label
    if isinstance(value, float) and math.isnan(value):
        raise DataError(f"{where()}: the label is NaN; expected a class")
    if value is None:
        raise DataError(f"{where()}: the label is missing")
    if isinstance(value, (bool, int, float)):
        return str(value)
    kind = type(value).__name__
    raise DataError(f"{where()}: expected a label, found {value!r} ({kind})")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
