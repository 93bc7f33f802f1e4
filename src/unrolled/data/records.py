"""Formats whose values are typed: JSON lines, Parquet, and data frames of any library."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import msgspec

from unrolled.data.source import split_lines
from unrolled.data.table import Table, check_unique, names, select
from unrolled.errors import DataError, did_you_mean


def read_jsonl(name: str, text: str, columns: Sequence[str] | None) -> Table:
    """Read one JSON object a line; `columns` None takes the keys of the first object.

    Every object must have every one of those keys; further keys are ignored. Raises `DataError`
    with the row for a line that is not JSON or not an object, and for a missing key.
    """
    decode = msgspec.json.Decoder().decode
    wanted = columns
    found: dict[str, list[Any]] = {}
    rows: list[int] = []
    for row, line in enumerate(split_lines(text), start=1):
        if not line or line.isspace():
            continue
        try:
            record = decode(line)
        except (msgspec.DecodeError, UnicodeEncodeError) as error:
            raise DataError(f"{name}, row {row}: not JSON: {error}") from None
        if not isinstance(record, dict):
            kind = type(record).__name__
            raise DataError(f"{name}, row {row}: expected a JSON object {{...}}, found a {kind}")
        if not rows:
            wanted = list(record) if columns is None else columns
            found = {key: [] for key in wanted}
        for key, values in found.items():
            if key not in record:
                raise DataError(
                    f"{name}, row {row}: no key {key!r}; the keys are: {names(record)}."
                    f"{did_you_mean(key, record)}"
                )
            values.append(record[key])
        rows.append(row)
    return Table(name, found, rows)


def read_parquet(name: str, content: bytes, columns: Sequence[str] | None) -> Table:
    """Read a Parquet file with polars. Raises `DataError` where it is damaged or has no rows."""
    try:
        import polars
    except ImportError:
        raise DataError(
            f"{name}: reading Parquet needs polars: pip install 'unrolled[train]'"
        ) from None
    try:
        schema = polars.read_parquet_schema(io.BytesIO(content))
        selected = select(name, {key: [] for key in schema}, columns)
        frame = polars.read_parquet(io.BytesIO(content), columns=list(selected))
    except polars.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{name}: not a Parquet file, or a damaged one: {reason}") from None
    if not frame.height:
        raise DataError(f"{name}: the file has columns and no rows")
    found = {key: frame[key].to_list() for key in selected}
    return Table(name, found, list(range(1, frame.height + 1)))


def read_frame(
    frame: Any, columns: Sequence[str] | None = None, *, name: str = "data frame"
) -> Table:
    """Read a data frame of any library that narwhals knows (pandas, polars, pyarrow and others).

    A lazy frame is collected. Rows count from 1 in the order of the frame. Raises `DataError` for
    anything that is not a data frame, a missing column, and a frame without rows.
    """
    try:
        import narwhals
    except ImportError:
        raise DataError(
            f"{name}: reading a data frame needs narwhals: pip install 'unrolled[train]'"
        ) from None
    try:
        native = narwhals.from_native(frame)
    except TypeError:
        kind = type(frame).__name__
        raise DataError(f"{name}: expected a data frame, found a {kind}") from None
    eager = native.collect() if isinstance(native, narwhals.LazyFrame) else native
    header = list(eager.columns)
    check_unique(name, header)
    selected = select(name, {key: [] for key in header}, columns)
    found = {key: eager[key].to_list() for key in selected}
    height = len(eager)
    if not height:
        raise DataError(f"{name}: the data frame has columns and no rows")
    return Table(name, found, list(range(1, height + 1)))
