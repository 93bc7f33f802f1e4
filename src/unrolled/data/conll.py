"""CoNLL-U and CoNLL columns: one word a line, a blank line after each sentence.

CoNLL-U as universaldependencies.org/format.html has it: ten columns between tabs, comments, words
numbered from 1; lines of multiword tokens (`3-4`) and of empty nodes (`3.1`) hold no word. CoNLL
columns as the CoNLL-2003 task has them: any number of columns between white space, `-DOCSTART-`
lines passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from unrolled.errors import ConfigError, DataError, did_you_mean

COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
FORM, MISC = 1, 9
DOCSTART = "-DOCSTART-"
COMMENT = re.compile(r"#\s*([^\s=:]+)\s*[=:]\s*(.*?)\s*$")
_RANGE = re.compile(r"[1-9]\d*-[1-9]\d*|\d+\.[1-9]\d*")


@dataclass
class Sentence:
    """Words with their tags (none where not asked for) and rows; `row` is where it begins."""

    row: int
    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    comments: dict[str, str] = field(default_factory=dict)
    intent: str = ""


def read_conllu(
    name: str, lines: Sequence[str], column: str | None, intent: str = ""
) -> list[Sentence]:
    """Return the sentences of a CoNLL-U file with the tags of `column`, `auto` being upos.

    With `column` None no tags are read. Raises DataError with the row.
    """
    place = None if column is None else column_index(column)
    found = []
    for sentence, body in _sentences(lines, lambda line: line.startswith("#")):
        for row, line in body:
            fields = line.split("\t")
            if len(fields) != len(COLUMNS):
                raise DataError(f"{name}, row {row}: {_ten(fields, line)}")
            if _RANGE.fullmatch(fields[0]):
                continue
            expected = str(len(sentence.words) + 1)
            if fields[0] != expected:
                raise DataError(f"{name}, row {row}: id {fields[0]!r}, expected {expected!r}")
            if not fields[FORM]:
                raise DataError(f"{name}, row {row}: the form is empty")
            tag = None if place is None else fields[place]
            if tag == "":
                raise DataError(f"{name}, row {row}, column {COLUMNS[place or 0]!r}: empty")
            _add(sentence, row, fields[FORM], tag)
        found.append(sentence)
    return _checked(name, found, intent if column is not None else "")


def read_columns(
    name: str, lines: Sequence[str], column: str | None, intent: str = ""
) -> list[Sentence]:
    """Return the sentences of a file of columns: the word first, the tag in `column`.

    `column` is a number from 1, or from -1 backwards; `auto` is the last. With None no tags are
    read. Columns are between tabs in a line that has one, else between spaces. Raises DataError
    with the row, ConfigError for a column that is no number.
    """
    place = None if column is None else _number(column)
    width = first = 0
    found = []
    for sentence, body in _sentences(lines, lambda line: COMMENT.match(line) is not None):
        for row, line in body:
            fields = split_columns(line)
            if fields[0] == DOCSTART:
                continue
            if not width:
                width, first = len(fields), row
                _check_place(name, place, width, row)
            if len(fields) != width:
                raise DataError(
                    f"{name}, row {row}: {len(fields)} columns, expected {width} as in row {first}"
                )
            if "" in fields:
                raise DataError(f"{name}, row {row}, column {fields.index('') + 1}: empty")
            _add(sentence, row, fields[0], None if place is None else fields[place])
        if sentence.words:
            found.append(sentence)
    return _checked(name, found, intent if column is not None else "")


def column_index(column: str) -> int:
    """Return the index of a CoNLL-U column by its name; `auto` is upos."""
    wanted = "upos" if column == "auto" else column.lower()
    if wanted not in COLUMNS:
        hint = did_you_mean(wanted, COLUMNS)
        raise ConfigError(f"no CoNLL-U column {column!r}; one of: {', '.join(COLUMNS)}.{hint}")
    return COLUMNS.index(wanted)


def split_columns(line: str) -> list[str]:
    """Return the columns of a line: between tabs where it has one, else between spaces."""
    return line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))


def _sentences(
    lines: Sequence[str], is_comment: Callable[[str], bool]
) -> Iterator[tuple[Sentence, list[tuple[int, str]]]]:
    """Yield each sentence, its comments read, and its other lines with their rows."""
    sentence: Sentence | None = None
    body: list[tuple[int, str]] = []
    for row, line in enumerate([*lines, ""], start=1):
        if not line.strip(" \t"):
            if sentence is not None and body:
                yield sentence, body
            sentence, body = None, []
            continue
        sentence = sentence or Sentence(row)
        if not body and is_comment(line):
            match = COMMENT.match(line)
            if match:
                sentence.comments[match[1]] = match[2]
        else:
            body.append((row, line))


def _add(sentence: Sentence, row: int, word: str, tag: str | None) -> None:
    sentence.words.append(word)
    sentence.rows.append(row)
    if tag is not None:
        sentence.tags.append(tag)


def _checked(name: str, found: list[Sentence], intent: str) -> list[Sentence]:
    kept = [sentence for sentence in found if sentence.words]
    if not kept:
        raise DataError(f"{name}: no sentence with a word in it")
    for sentence in kept if intent else ():
        sentence.intent = sentence.comments.get(intent, "")
        if not sentence.intent:
            there = ", ".join(sentence.comments) or "none"
            raise DataError(
                f"{name}, row {sentence.row}: no comment '# {intent} = ...' before the sentence; "
                f"comments there: {there}"
            )
    return kept


def _ten(fields: list[str], line: str) -> str:
    count = f"{len(fields)} column{'s' if len(fields) > 1 else ''} between tabs"
    if len(fields) == 1 and len(line.split()) == len(COLUMNS):
        return f"{count}, but 10 between spaces; CoNLL-U separates by tabs"
    hint = "; for a file of words and tags give --format conll" if len(fields) < 5 else ""
    return f"{count}, expected the 10 of CoNLL-U{hint}"


def _number(column: str) -> int:
    """Return the index of a column given as a number from 1 or -1."""
    if column == "auto":
        return -1
    try:
        number = int(column)
    except ValueError:
        number = 0
    if number == 0:
        raise ConfigError(
            f"column {column!r}: a CoNLL file's columns have no names; expected a number from 1, "
            "or from -1 backwards"
        )
    return number - 1 if number > 0 else number


def _check_place(name: str, place: int | None, width: int, row: int) -> None:
    if place is None:
        return
    if width < 2:
        raise DataError(f"{name}, row {row}: one column, expected a word and a tag")
    if not -width <= place < width:
        shown = place + 1 if place >= 0 else place
        raise DataError(f"{name}, row {row}: no column {shown}; the row has {width}")
