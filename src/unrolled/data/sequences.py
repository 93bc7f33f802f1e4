"""Sequences with a tag at every step: CoNLL-U, CoNLL columns, JSON lines, lines of text.

A sequence is a list of words, or frames [T, I]. Errors name the file, the row and the column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from unrolled.data import conll, frames
from unrolled.data.records import read_jsonl
from unrolled.data.source import format_among, read_bytes, read_text, shown, split_lines
from unrolled.data.table import Table, labels
from unrolled.errors import DataError

FORMATS = {
    ".conllu": "conllu",
    ".conll": "conll",
    ".iob": "conll",
    ".iob2": "conll",
    ".bio": "conll",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".txt": "txt",
    ".npz": "npz",
    ".parquet": "parquet",
}
FRAMES = ("npz", "parquet")


@dataclass(frozen=True)
class Sequences:
    """Sequences read from `name`, with their tags and intents where these are known.

    `inputs[i]` is a list of words or an array of frames [T, I]. `rows[i]` is the row on which it
    begins (else they are counted), `step_rows[i]` the row of each step where steps have their own.
    `lines` are those of a CoNLL file, `table` the JSON lines. `features` names the I columns of a
    frame, `ids` what names a sequence of frames.
    """

    name: str
    inputs: Sequence[Any]
    tags: Sequence[Sequence[str]] = ()
    intents: Sequence[str] = ()
    rows: Sequence[int] = ()
    step_rows: Sequence[Sequence[int]] = ()
    lines: Sequence[str] = ()
    table: Table | None = None
    features: tuple[str, ...] = ()
    ids: Sequence[Any] = ()

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, indices: Iterable[int]) -> Sequences:
        """Return the sequences at `indices`, without the lines of the file."""
        chosen = list(indices)
        rows = self.rows or range(1, len(self) + 1)
        return Sequences(
            self.name,
            [self.inputs[i] for i in chosen],
            [self.tags[i] for i in chosen] if self.tags else (),
            [self.intents[i] for i in chosen] if self.intents else (),
            [rows[i] for i in chosen],
            [self.step_rows[i] for i in chosen] if self.step_rows else (),
            features=self.features,
            ids=[self.ids[i] for i in chosen] if len(self.ids) else (),
        )

    @property
    def form(self) -> str:
        """What is read: words, or frames of these features."""
        return frames.form_of(self.features, "words")

    def joined(self, others: Iterable[Sequences], name: str) -> Sequences:
        """Return these and others, of which `name` is all that says where they are from."""
        parts = (self, *others)
        return Sequences(
            name,
            [x for part in parts for x in part.inputs],
            [tags for part in parts for tags in part.tags],
            [intent for part in parts for intent in part.intents],
            features=self.features,
        )

    def where(self, i: int, t: int | None = None) -> str:
        """Return where sequence `i`, or its step `t`, is: `"train.conllu, row 7"`."""
        if t is None:
            unit = "sequence" if self.features and not self.rows else "row"
            return f"{self.name}, {unit} {self.rows[i] if self.rows else i + 1}"
        if self.step_rows:
            return f"{self.name}, row {self.step_rows[i][t]}"
        step = "frame" if self.features else "word"
        return f"{self.where(i)}, {step} {t + 1}"


def format_of(path: str | Path, format: str | None, *, tagged: bool) -> str:
    """Return `format`, or the one that the ending of `path` names.

    Text (`.txt`, standard input) is CoNLL columns where tags are to be read, else one sentence of
    words a line. Raises ConfigError for an unknown `format`, DataError for an unknown ending.
    """
    found = format_among(FORMATS, path, format, stdin="txt")
    return "conll" if found == "txt" and tagged else found


def read_sequences(
    path: str | Path,
    *,
    format: str | None = None,
    tagged: bool = True,
    column: str = "auto",
    words: str = "tokens",
    intent: str = "",
    sequence: str = "id",
    time: str = "time",
    features: Sequence[str] | None = None,
    stdin: BinaryIO | None = None,
) -> Sequences:
    """Read sentences of words or sequences of frames, and their tags and intents where `tagged`.

    `column` says which tags: in CoNLL-U the name of a column (`auto`: upos), in CoNLL columns its
    number from 1, or from -1 backwards (`auto`: the last), in JSON lines a key (`auto`: tags), of
    frames a column (`auto`: y). `intent` names a key or a `# key = value` comment. Of frames,
    `sequence`, `time` and `features` are as in `data.frames`. Raises DataError for what a file can
    have wrong, ConfigError for a format or column that there is not.
    """
    kind = format_of(path, format, tagged=tagged)
    name = shown(path)
    if kind in FRAMES:
        return from_frames(
            frames.read_frames(
                name,
                read_bytes(path, stdin),
                kind,
                label=("y" if column == "auto" else column) if tagged else None,
                intent=intent if tagged else "",
                sequence=sequence,
                time=time,
                features=features,
            ),
            name,
        )
    text = read_text(path, stdin)
    if kind == "jsonl":
        return _from_jsonl(
            name, text, tagged, words, "tags" if column == "auto" else column, intent
        )
    if kind == "txt":
        return _from_lines(name, text)
    lines = split_lines(text)
    if kind == "conllu":
        found = conll.read_conllu(name, lines, column if tagged else None, intent)
    else:
        found = conll.read_columns(name, lines, column if tagged else None, intent)
    return Sequences(
        name,
        [s.words for s in found],
        [s.tags for s in found] if tagged else (),
        [s.intent for s in found] if tagged and intent else (),
        [s.row for s in found],
        [s.rows for s in found],
        lines,
    )


def from_frames(found: frames.Frames, name: str) -> Sequences:
    """Return sequences of frames with the tags that were read beside them."""
    return Sequences(
        name,
        found.inputs,
        found.tags,
        found.intents,
        [rows[0] for rows in found.rows],
        found.rows,
        features=found.features,
        ids=found.ids,
    )


def _from_lines(name: str, text: str) -> Sequences:
    lines = split_lines(text)
    for row, line in enumerate(lines, start=1):
        if not line.split():
            raise DataError(f"{name}, row {row}: no words; expected at least one")
    rows = list(range(1, len(lines) + 1))
    return Sequences(name, [line.split() for line in lines], rows=rows)


def _from_jsonl(
    name: str, text: str, tagged: bool, words: str, tags: str, intent: str
) -> Sequences:
    table = read_jsonl(name, text, None)
    inputs = units(table, words)
    if not tagged:
        return Sequences(name, inputs, rows=table.rows, table=table)
    found = units(table, tags)
    check_alike(inputs, found, lambda i: table.where(i, tags))
    intents = labels(table, intent) if intent else ()
    return Sequences(name, inputs, found, intents, table.rows, table=table)


def units(table: Table, column: str) -> list[list[str]]:
    """Return a column of lists of strings; a string is split at white space.

    Raises DataError, with row and column, for an empty list and for anything else.
    """
    result: list[list[str]] = []
    for i, value in enumerate(table.column(column)):
        found = value.split() if isinstance(value, str) else value
        if not isinstance(found, (list, tuple)):
            kind = type(value).__name__
            raise DataError(f"{table.where(i, column)}: expected a list of strings, found a {kind}")
        if not found:
            raise DataError(f"{table.where(i, column)}: the list is empty; expected one or more")
        for k, unit in enumerate(found, start=1):
            if not isinstance(unit, str):
                kind = type(unit).__name__
                raise DataError(
                    f"{table.where(i, column)}: item {k} is {unit!r} ({kind}), expected a string"
                )
            if not unit.strip():
                raise DataError(f"{table.where(i, column)}: item {k} is empty")
        result.append(list(found))
    return result


def check_alike(
    inputs: Sequence[Any], tags: Sequence[Sequence[str]], where: Callable[[int], str]
) -> None:
    """Raise DataError, naming `where`, where a sequence has not as many tags as steps."""
    for i, (sequence, found) in enumerate(zip(inputs, tags, strict=True)):
        if len(sequence) != len(found):
            raise DataError(f"{where(i)}: {len(found)} tags for {len(sequence)} words")
