"""Examples of one answer a sequence: texts or frames, with labels or numbers, from any file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from unrolled.config import DataSpec, FramesSpec
from unrolled.data import source
from unrolled.data.frames import Frames, form_of, frames_of_npz, frames_of_table, numbers
from unrolled.data.read import read_table
from unrolled.data.table import Table, is_missing, labels, texts
from unrolled.errors import DataError

NPZ = "npz"


@dataclass(frozen=True)
class Examples:
    """Sequences with what they should answer; `name` and `rows` (else counted) say from where.

    `inputs` are texts or arrays of frames [T, I], whose columns `features` names. `targets` are
    labels, tuples of labels where there may be several, or arrays of numbers [K]; empty where they
    were not read. `ids` are what names a sequence of a table of frames, `table` the one of texts,
    `column` the one there of the answers. Of several files `places` say where each example is.
    """

    inputs: Sequence[Any]
    targets: Sequence[Any]
    name: str = "the training data"
    rows: Sequence[int] = ()
    features: tuple[str, ...] = ()
    ids: Sequence[Any] = ()
    table: Table | None = None
    column: str = ""
    places: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, indices: Iterable[int]) -> Examples:
        """Return the examples at `indices`, without their table."""
        chosen = list(indices)
        rows = self.rows or range(1, len(self) + 1)
        return Examples(
            [self.inputs[i] for i in chosen],
            [self.targets[i] for i in chosen] if len(self.targets) else (),
            self.name,
            [rows[i] for i in chosen],
            self.features,
            [self.ids[i] for i in chosen] if len(self.ids) else (),
            places=[self.places[i] for i in chosen] if self.places else (),
        )

    def joined(self, others: Sequence[Examples], name: str) -> Examples:
        """Return these and other examples under one name; each keeps its place."""
        parts = (self, *others)
        inputs = [x for part in parts for x in part.inputs]
        targets = [y for part in parts for y in part.targets]
        places = [part.where_answer(i) for part in parts for i in range(len(part))]
        return Examples(inputs, targets, name, features=self.features, places=places)

    @property
    def form(self) -> str:
        """What is read: texts, or frames of these features."""
        return form_of(self.features)

    def where(self, i: int) -> str:
        """Return where example `i` is: `"reviews.csv, row 7"`."""
        if self.places:
            return self.places[i]
        unit = "sequence" if self.features and not self.rows else "row"
        return f"{self.name}, {unit} {self.rows[i] if self.rows else i + 1}"

    def where_answer(self, i: int) -> str:
        """Return where the answer of example `i` is, with its column where that is known."""
        return self.table.where(i, self.column) if self.table and self.column else self.where(i)


def format_of(path: str | Path, format: str | None) -> str:
    """Return `format`, or the one that the ending of `path` names; npz is one, too."""
    if format == NPZ or (format is None and Path(path).suffix.lower() == ".npz"):
        return NPZ
    return source.format_of(path, format)


def read_examples(
    path: str | Path,
    data: DataSpec,
    *,
    format: str | None = None,
    answered: bool = True,
    stdin: BinaryIO | None = None,
) -> Examples:
    """Read texts, or frames where `data.frames` is given, and their answers where `answered`.

    The answers are numbers of the columns `data.targets` where there are any, else labels of the
    column `data.target`. Raises DataError, naming file, row and column, for what a file can have
    wrong, and where it holds the other kind of sequence.
    """
    kind, name = format_of(path, format), source.shown(path)
    if kind == NPZ:
        if data.frames is None:
            raise DataError(
                f"{name}: the model reads texts, an npz archive holds frames of numbers"
            )
        return _from_npz(name, source.read_bytes(path, stdin), data, data.frames, answered)
    return examples_of(read_table(path, format=kind, stdin=stdin), data, answered=answered)


def examples_of(table: Table, data: DataSpec, *, answered: bool = True) -> Examples:
    """Read texts, or frames, and their answers from a table, as `read_examples` does."""
    if data.frames is not None:
        return _from_frames(table, data, data.frames, answered)
    found = texts(table, data.source)
    targets = targets_of(table, data) if answered else ()
    column = "" if data.targets else data.target
    return Examples(found, targets, table.path, table.rows, table=table, column=column)


def targets_of(table: Table, data: DataSpec) -> Sequence[Any]:
    """Return the answers of each row: a label, a tuple of labels, or an array of numbers [K]."""
    if data.targets:
        columns = [numbers(table, column, wide=True) for column in data.targets]
        return list(np.stack(columns, axis=1))
    if data.labels.several:
        return label_sets(table, data.target, data.labels.separator)
    return labels(table, data.target)


def label_sets(table: Table, column: str, separator: str) -> list[tuple[str, ...]]:
    """Return a column as tuples of labels: a list each, or a text with `separator` between them.

    An empty list or text is no label. Raises DataError, with row and column, for a missing value
    and for anything else.
    """
    found: list[tuple[str, ...]] = []
    for i, value in enumerate(table.column(column)):
        if is_missing(value):
            raise DataError(
                f"{table.where(i, column)}: the labels are missing; an empty list or text is none"
            )
        if not isinstance(value, (str, list, tuple)):
            raise DataError(
                f"{table.where(i, column)}: expected labels, a list or a text with {separator!r} "
                f"between, found {value!r}"
            )
        parts = value.split(separator) if isinstance(value, str) else value
        wrong = next((p for p in parts if not isinstance(p, (str, int))), None)
        if wrong is not None:
            raise DataError(f"{table.where(i, column)}: {wrong!r} is not a label")
        names = (str(part).strip() for part in parts)
        found.append(tuple(dict.fromkeys(name for name in names if name)))
    return found


def check_targets(
    targets: Sequence[Any], data: DataSpec, where: Callable[[int], str]
) -> Sequence[Any]:
    """Return labels of an archive as `data` wants them: tuples of labels, or one each."""
    several = data.labels.several
    found = []
    for i, target in enumerate(targets):
        if isinstance(target, tuple) and not several:
            raise DataError(f"{where(i)}: has several labels; give --multi-label")
        if isinstance(target, str) and several:
            parts = (part.strip() for part in target.split(data.labels.separator))
            target = tuple(dict.fromkeys(part for part in parts if part))
        found.append(target)
    return found


def _from_npz(
    name: str, content: bytes, data: DataSpec, frames: FramesSpec, answered: bool
) -> Examples:
    role = "targets" if data.targets else "intent"
    wanted: dict[str, Any] = {role: data.target} if answered else {}
    found = frames_of_npz(
        name,
        content,
        features=frames.features or None,
        mask_missing=frames.mask_missing,
        **wanted,
    )
    return _examples(name, found, data, answered)


def _from_frames(table: Table, data: DataSpec, frames: FramesSpec, answered: bool) -> Examples:
    one = answered and not data.targets and not data.labels.several
    if data.labels.several and answered:
        sets = label_sets(table, data.target, data.labels.separator)
        joined = [data.labels.separator.join(each) or data.labels.separator for each in sets]
        table = Table(table.path, {**table.columns, data.target: joined}, table.rows)
        one = True
    found = frames_of_table(
        table,
        intent=data.target if one else "",
        targets=data.targets if answered else (),
        sequence=frames.sequence,
        time=frames.time,
        features=frames.features or None,
        mask_missing=frames.mask_missing,
    )
    return _examples(table.path, found, data, answered)


def _examples(name: str, found: Frames, data: DataSpec, answered: bool) -> Examples:
    first = [rows[0] for rows in found.rows]
    read = Examples(found.inputs, (), name, first, found.features, found.ids)
    if not answered:
        return read
    targets: Sequence[Any] = found.targets
    if data.targets:
        width, unnamed = len(targets[0]), data.targets == (data.target,)
        if width != len(data.targets) and not unnamed:
            raise DataError(f"{name}: {width} targets a sequence, expected {len(data.targets)}")
    else:
        targets = check_targets(found.intents, data, read.where)
    return Examples(found.inputs, targets, name, first, found.features, found.ids)
