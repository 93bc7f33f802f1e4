"""Bytes and text of one source, a file or standard input, with errors that name the place."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from unrolled.errors import ConfigError, DataError, did_you_mean

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "txt",
}
STDIN = "-"
FOLDER = "is a folder; expected a file"
_LINE_END = re.compile(r"\r\n|\n|\r")
_BYTE_ORDER_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


def shown(path: str | Path) -> str:
    """Return the name of a source for messages: the path as it was given, or `stdin`."""
    return "stdin" if str(path) == STDIN else str(path)


def format_of(path: str | Path, format: str | None) -> str:
    """Return `format`, or the one that the ending of `path` names; stdin is `txt` by default."""
    return format_among(FORMATS, path, format, stdin="txt")


def format_among(
    formats: Mapping[str, str], path: str | Path, format: str | None, *, stdin: str
) -> str:
    """Return `format`, or the one of `formats`, by their endings, that `path` names.

    Raises ConfigError for an unknown `format`, DataError for an unknown ending, for a folder and
    where there is no such file.
    """
    known = sorted(set(formats.values()))
    if format is not None and format not in known:
        hint = did_you_mean(format, known)
        raise ConfigError(f"unknown format {format!r}; one of: {', '.join(known)}.{hint}")
    ending = Path(path).suffix.lower()
    found = format or (stdin if str(path) == STDIN else formats.get(ending))
    if found is not None:
        return found
    if Path(path).is_dir():
        raise DataError(f"{path}: {FOLDER}")
    if not Path(path).exists():
        raise missing(path)
    raise DataError(
        f"{path}: cannot tell the format from the ending {ending!r}; expected one of "
        f"{', '.join(formats)}, or give the format: {', '.join(known)}"
    )


def read_bytes(path: str | Path, stdin: BinaryIO | None = None) -> bytes:
    """Return all bytes of a file, or of standard input where `path` is `-`.

    Raises `DataError` where the file is missing, is a folder, cannot be read, or is empty.
    """
    from_stdin = str(path) == STDIN
    content = (stdin or sys.stdin.buffer).read() if from_stdin else _read_file(Path(path))
    if not content:
        raise DataError(f"{shown(path)}: the file is empty")
    return content


def missing(path: str | Path) -> DataError:
    """Return the error of a file that is not there; it names one beside it with a like name."""
    place = Path(path)
    beside = [entry.name for entry in place.parent.iterdir()] if place.parent.is_dir() else []
    return DataError(f"{path}: no such file.{did_you_mean(place.name, beside)}")


def unreadable(path: str | Path, error: OSError) -> DataError:
    """Return the error of a file that cannot be read, in words."""
    if isinstance(error, FileNotFoundError):
        return missing(path)
    if isinstance(error, IsADirectoryError):
        return DataError(f"{path}: {FOLDER}")
    return DataError(f"{path}: cannot be read: {error.strerror}")


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def read_text(path: str | Path, stdin: BinaryIO | None = None) -> str:
    """Return the text of a UTF-8 source, without a byte order mark, line ends as they are.

    Raises `DataError` as `read_bytes` does, where a byte is not UTF-8 (with its offset and row),
    where the file holds a NUL, and where it holds nothing but white space.
    """
    content = read_bytes(path, stdin)
    name = shown(path)
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            raise DataError(
                f"{name}: the file is {encoding} (byte offset 0, row 1); save it as UTF-8"
            )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        start = error.start
        raise DataError(
            f"{name}: byte 0x{content[start]:02x} at offset {start} (row {_row(content, start)})"
            " is not UTF-8; save the file as UTF-8"
        ) from None
    if "\0" in text:
        offset = content.index(b"\0")
        raise DataError(
            f"{name}: NUL byte at offset {offset} (row {_row(content, offset)}); expected text"
        )
    text = text.removeprefix("\ufeff")
    if not text or text.isspace():
        raise DataError(f"{name}: the file is empty: it holds nothing but white space")
    return text


def _row(content: bytes, offset: int) -> int:
    before = content[:offset]
    return 1 + before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n")


def split_lines(text: str) -> list[str]:
    """Split at LF, CRLF and CR only, as editors do; a last line end opens no further line.

    `str.splitlines` also splits at form feeds, U+0085 and U+2028, which are part of a text.
    """
    lines = _LINE_END.split(text)
    return lines[:-1] if lines[-1] == "" else lines


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file in hexadecimal: the record of what a model learned from."""
    return hashlib.sha256(read_bytes(path)).hexdigest()
