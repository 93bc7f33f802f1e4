"""Comma and tab separated values, read strictly: every row has as many fields as the first."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager

from unrolled.errors import DataError

Record = tuple[int, list[str]]
DELIMITERS = {"csv": ",", "tsv": "\t"}
CLOSING = {"csv": "a comma", "tsv": "a tab"}


def parse(name: str, text: str, format: str, *, quotes: bool | None = None) -> list[Record]:
    """Return `(row, fields)` of every record; `row` is the 1-based line on which it begins.

    In CSV a field may be quoted (RFC 4180) and then hold commas and line ends. In TSV a quote is a
    character like any other (IANA text/tab-separated-values) unless `quotes=True`. Blank lines are
    passed over. Raises `DataError` for a quote that is misplaced or never closed.
    """
    quoted = format == "csv" if quotes is None else quotes
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=DELIMITERS[format],
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    records: list[Record] = []
    row = 1
    with _fields_up_to(len(text)):
        while True:
            try:
                fields = next(reader)
            except StopIteration:
                return records
            except csv.Error as error:
                raise DataError(_quote_error(name, row, reader.line_num, format, error)) from None
            if fields:
                records.append((row, fields))
            row = reader.line_num + 1


@contextmanager
def _fields_up_to(size: int) -> Iterator[None]:
    # The csv module keeps one limit for the whole process; it is put back as it was.
    before = csv.field_size_limit()
    csv.field_size_limit(max(before, size + 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _quote_error(name: str, row: int, line: int, format: str, error: csv.Error) -> str:
    if "unexpected end of data" in str(error):
        return f'{name}, row {row}: a quote (") is opened in this row and never closed'
    span = "" if line == row else f" (the field runs on to row {line})"
    if "expected after" in str(error):
        return (
            f'{name}, row {row}: a closing quote (") must be followed by {CLOSING[format]} or the'
            f' end of the row{span}; write a quote inside a quoted field as ""'
        )
    return f"{name}, row {row}: {error}{span}"


def check_widths(name: str, records: list[Record], columns: list[str], quoted: bool) -> None:
    """Refuse the first record whose number of fields is not that of `columns`."""
    for row, fields in records:
        if len(fields) == len(columns):
            continue
        hint = ""
        if quoted and len(fields) > len(columns):
            hint = ' A field that holds the separator must be in quotes (").'
        elif not quoted and any(field.startswith('"') for field in fields):
            hint = (
                ' Quotes (") are read as they stand here; say quotes=True where they hold a field.'
            )
        plural = "field" if len(fields) == 1 else "fields"
        raise DataError(
            f"{name}, row {row}: {len(fields)} {plural}, expected {len(columns)}"
            f" ({', '.join(columns)}).{hint}"
        )
