"""Files to tables: CSV, TSV, JSON lines, Parquet, text, parallel text and standard input.

Every error names the file, the row as an editor counts it, the column, and what was expected.
Text is UTF-8, with or without a byte order mark; lines end in LF, CRLF or CR.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from unrolled.data import delimited
from unrolled.data.records import read_frame, read_jsonl, read_parquet
from unrolled.data.source import file_hash, format_of, read_bytes, read_text, shown, split_lines
from unrolled.data.table import Table, check_unique, labels, select, texts
from unrolled.errors import DataError

__all__ = [
    "Table",
    "file_hash",
    "labels",
    "read_frame",
    "read_pairs",
    "read_parallel",
    "read_sources",
    "read_table",
    "texts",
]


def read_table(
    path: str | Path,
    *,
    columns: Sequence[str] | None = None,
    format: str | None = None,
    header: bool = True,
    quotes: bool | None = None,
    stdin: BinaryIO | None = None,
) -> Table:
    """Read the named `columns` of a file, all of them where `columns` is None.

    `format` is one of csv, tsv, jsonl, parquet and txt; by default the ending of the path says
    which, and standard input (`path` is `-`) is txt: one text a line, in a single column named
    `text` or as the one name in `columns` says. With `header=False` the first row of a CSV or TSV
    file is data, and `columns` names its fields in order (`1`, `2`, ... where None). `quotes` says
    whether fields may be quoted: by default in CSV they may, and in TSV a quote is a character
    like any other. White space around the names in a header is dropped.

    Raises `DataError` for what a file can have wrong, `ConfigError` for an unknown `format`.
    """
    kind = format_of(path, format)
    name = shown(path)
    if kind == "parquet":
        return read_parquet(name, read_bytes(path, stdin), columns)
    text = read_text(path, stdin)
    if kind == "jsonl":
        return read_jsonl(name, text, columns)
    if kind == "txt":
        return _lines(name, text, columns)
    records = delimited.parse(name, text, kind, quotes=quotes)
    quoted = kind == "csv" if quotes is None else quotes
    return _with_header(name, records, columns, header, quoted)


def _lines(name: str, text: str, columns: Sequence[str] | None) -> Table:
    wanted = ["text"] if columns is None else list(columns)
    if len(wanted) != 1:
        raise DataError(
            f"{name}: plain text holds one text a line, so it has one column;"
            f" {len(wanted)} were asked for: {', '.join(wanted)}"
        )
    lines = split_lines(text)
    return Table(name, {wanted[0]: lines}, list(range(1, len(lines) + 1)))


def _with_header(
    name: str,
    records: list[delimited.Record],
    columns: Sequence[str] | None,
    header: bool,
    quoted: bool,
) -> Table:
    if header:
        titles = [title.strip() for title in records[0][1]]
        check_unique(name, titles)
        select(name, {title: [] for title in titles}, columns)
        records = records[1:]
        if not records:
            raise DataError(f"{name}: the file has a header ({', '.join(titles)}) and no rows")
    else:
        width = len(records[0][1])
        titles = [str(k) for k in range(1, width + 1)] if columns is None else list(columns)
    delimited.check_widths(name, records, titles, quoted)
    found = {title: [fields[k] for _, fields in records] for k, title in enumerate(titles)}
    return Table(name, select(name, found, columns), [row for row, _ in records])


def read_pairs(
    path: str | Path,
    source: str = "source",
    target: str = "target",
    *,
    format: str | None = None,
    quotes: bool | None = None,
    stdin: BinaryIO | None = None,
) -> Table:
    """Read two columns: what goes in and what should come out.

    A TSV file may come without a header. With the default names its first row is a header only
    where both `source` and `target` are among its fields; else it is data, and every row must have
    two fields. With names of your own the file must have a header that holds them. The other
    formats always name their columns. Raises as `read_table` does.
    """
    return _maybe_headed(path, [source, target], ["source", "target"], format, quotes, stdin)


def read_sources(
    path: str | Path,
    source: str = "source",
    *,
    format: str | None = None,
    quotes: bool | None = None,
    stdin: BinaryIO | None = None,
) -> Table:
    """Read only what goes in, from a file of pairs or of sources alone, by `read_pairs`' rules.

    Without a header the source is the first field of a TSV file, whatever follows it.
    """
    return _maybe_headed(path, [source], ["source"], format, quotes, stdin)


def _maybe_headed(
    path: str | Path,
    wanted: list[str],
    defaults: list[str],
    format: str | None,
    quotes: bool | None,
    stdin: BinaryIO | None,
) -> Table:
    if format_of(path, format) != "tsv" or wanted != defaults:
        return read_table(path, columns=wanted, format=format, quotes=quotes, stdin=stdin)
    name = shown(path)
    records = delimited.parse(name, read_text(path, stdin), "tsv", quotes=quotes)
    first = [field.strip() for field in records[0][1]]
    if set(wanted) <= set(first):
        return _with_header(name, records, wanted, True, bool(quotes))
    if len(wanted) == 1:
        found = {wanted[0]: [fields[0] for _, fields in records]}
        return Table(name, found, [row for row, _ in records])
    return _with_header(name, records, wanted, False, bool(quotes))


def read_parallel(
    source_path: str | Path,
    target_path: str | Path,
    source: str = "source",
    target: str = "target",
) -> Table:
    """Read two text files, whatever their endings, whose n-th lines belong together.

    Raises `DataError` with both counts where they have not the same number of lines.
    """
    sources = split_lines(read_text(source_path))
    targets = split_lines(read_text(target_path))
    if len(sources) != len(targets):
        raise DataError(
            f"{source_path} has {len(sources)} lines and {target_path} has {len(targets)};"
            " parallel files hold the same text on the same line"
        )
    name = f"{source_path} and {target_path}"
    return Table(name, {source: sources, target: targets}, list(range(1, len(sources) + 1)))
