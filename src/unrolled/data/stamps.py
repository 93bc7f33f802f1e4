"""Columns of time stamps and of numbers that may be missing, from any table."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unrolled.data.table import Table, is_missing
from unrolled.errors import DataError

Array = NDArray[Any]
MISSING = {"", "na", "nan", "null", "none", "n/a", "<na>"}
EXPECTED = "expected a time as 2024-05-31 or 2024-05-31 13:00 (ISO 8601), or a whole number"
_FORMATS = {7: "%Y-%m", 10: "%Y-%m-%d", 16: "%Y-%m-%d{}%H:%M", 19: "%Y-%m-%d{}%H:%M:%S"}


@dataclass(frozen=True)
class Style:
    """How stamps were written, so that answers are written alike.

    `number` and `text` of a file, `time` for datetimes of a data frame, with the `zone` that they
    were in, `date` for its dates. `aware` are times with an offset from UTC.
    """

    kind: Literal["number", "number text", "text", "time", "date"]
    format: str = ""
    zone: dt.tzinfo | None = None
    aware: bool = False

    def write(self, stamps: Array) -> list[Any]:
        """Return stamps as they were given."""
        if self.kind.startswith("number"):
            numbers: list[Any] = [int(stamp) for stamp in stamps]
            return list(map(str, numbers)) if self.kind == "number text" else numbers
        times = [stamp.astype("datetime64[us]").item() for stamp in stamps]
        if self.kind == "date":
            return [time.date() for time in times]
        if self.zone is not None:
            return [time.replace(tzinfo=dt.UTC).astimezone(self.zone) for time in times]
        return times if self.kind == "time" else [time.strftime(self.format) for time in times]


def read_stamps(table: Table, column: str) -> tuple[Array, Style]:
    """Return a column as int64 or datetime64[us], and how it was written.

    A time with an offset becomes UTC; answers to a data frame come back in its zone. Raises
    DataError, with the row and column, for a stamp that is missing, or neither a time nor a whole
    number, or of another kind than the first: a number, a time, a time with an offset.
    """
    values = table.column(column)
    found: list[Any] = []
    style: Style | None = None
    for i, value in enumerate(values):
        stamp, kind = _stamp(table, i, column, value)
        if style is None:
            style = kind
        elif style.kind.startswith("number") != kind.kind.startswith("number"):
            raise DataError(
                f"{table.where(i, column)}: {value!r} beside {values[0]!r}; expected whole "
                "numbers or times throughout"
            )
        elif style.aware != kind.aware:
            raise DataError(
                f"{table.where(i, column)}: {value!r} beside {values[0]!r}; expected an offset "
                "from UTC in all times or in none"
            )
        elif len(kind.format) > len(style.format):
            style = kind
        found.append(stamp)
    assert style is not None
    if style.kind.startswith("number"):
        return np.array(found, dtype=np.int64), style
    return np.array(found, dtype="datetime64[us]"), style


def _stamp(table: Table, i: int, column: str, value: Any) -> tuple[Any, Style]:
    if isinstance(value, np.generic):
        value = value.item()
    if is_missing(value) or (isinstance(value, str) and value.strip().lower() in MISSING):
        raise DataError(f"{table.where(i, column)}: the time stamp is missing")
    if isinstance(value, dt.datetime):
        return _naive(value), Style("time", zone=value.tzinfo, aware=value.tzinfo is not None)
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day), Style("date")
    if isinstance(value, float) and value.is_integer():
        return int(value), Style("number")
    if isinstance(value, int) and not isinstance(value, bool):
        return value, Style("number")
    if isinstance(value, str):
        text = value.strip()
        if text.lstrip("-").isdigit():
            return int(text), Style("number text")
        try:
            whole = text + "-01" if len(text) == 7 else text
            time = dt.datetime.fromisoformat(whole)
        except ValueError:
            raise DataError(f"{table.where(i, column)}: {value!r}; {EXPECTED}") from None
        plain = _FORMATS.get(len(text), "%Y-%m-%d{}%H:%M:%S.%f" if time.microsecond else "")
        plain = plain or "%Y-%m-%d{}%H:%M:%S"
        style = Style("text", plain.format("T" if "T" in text else " "))
        return _naive(time), replace(style, aware=time.tzinfo is not None)
    raise DataError(f"{table.where(i, column)}: {value!r}; {EXPECTED}")


def _naive(time: dt.datetime) -> dt.datetime:
    if time.tzinfo is not None:
        time = time.astimezone(dt.UTC).replace(tzinfo=None)
    return dt.datetime(*time.timetuple()[:6], time.microsecond)


def read_numbers(table: Table, column: str) -> Array:
    """Return a column as float64, NaN where a value is missing.

    Missing are empty cells, None, NaN and the words NA, NaN, null and none. Raises DataError, with
    the row and column, for anything else that is no number, and for infinities.
    """
    found = np.empty(len(table), np.float64)
    for i, value in enumerate(table.column(column)):
        found[i] = _number(table, i, column, value)
    return found


def _number(table: Table, i: int, column: str, value: Any) -> float:
    if value is None or (isinstance(value, str) and value.strip().lower() in MISSING):
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError):
        # The missing values of data frames are no numbers, and differ from themselves.
        if type(value).__name__ in ("NAType", "NaTType"):
            return math.nan
        raise DataError(f"{table.where(i, column)}: {value!r}, expected a number") from None
    if math.isinf(number):
        raise DataError(f"{table.where(i, column)}: {value!r} is not finite")
    return number


def names_of(text: str | Sequence[str]) -> tuple[str, ...]:
    """Return the column names of a text with commas between them."""
    parts = text.split(",") if isinstance(text, str) else text
    return tuple(part.strip() for part in parts if part.strip())
