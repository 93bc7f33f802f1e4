"""Sequences of items from JSON lines, and frames of 0 and 1 from npz, for generators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unrolled.data.frames import read_frames
from unrolled.data.read import read_table
from unrolled.data.source import read_bytes, shown
from unrolled.data.table import Table
from unrolled.errors import ConfigError, DataError

NEGATIVES = "negatives"


@dataclass(frozen=True)
class Corpus:
    """Sequences of a file: lists of items or frames [T, I]; `negatives` a list for each, if any.

    `numbers` (else they are counted) say which of the file each is, from 1.
    """

    name: str
    sequences: list[Any]
    negatives: list[list[str]] | None = None
    numbers: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def inputs(self) -> list[Any]:
        """What is read: the sequences."""
        return self.sequences

    @property
    def form(self) -> str:
        """What a sequence is of: items, or frames of so many values."""
        if self.sequences and isinstance(self.sequences[0], np.ndarray):
            return f"frames of {self.sequences[0].shape[1]} values"
        found = "items" if self.negatives is None else "items with negatives"
        return found if self.sequences else ""

    def take(self, index: Any) -> Corpus:
        """Return the sequences at `index`."""
        chosen = list(index)
        kept = None if self.negatives is None else [self.negatives[i] for i in chosen]
        numbers = self.numbers or range(1, len(self) + 1)
        sequences = [self.sequences[i] for i in chosen]
        return Corpus(self.name, sequences, kept, [numbers[i] for i in chosen])

    def joined(self, others: Sequence[Corpus], name: str) -> Corpus:
        """Return these and others, of which `name` is all that says where they are from."""
        parts = (self, *others)
        negatives = None
        if self.negatives is not None:
            negatives = [each for part in parts for each in part.negatives or ()]
        return Corpus(name, [each for part in parts for each in part.sequences], negatives)

    def where(self, i: int) -> str:
        """Return where sequence `i` is: `"baskets.jsonl, sequence 7"`."""
        return f"{self.name}, sequence {self.numbers[i] if self.numbers else i + 1}"


def shape_of(path: str, kind: str | None) -> str:
    """Return what a file holds by its format or ending: "text", "items" or "frames"."""
    known = {"txt": "text", "jsonl": "items", "ndjson": "items", "npz": "frames"}
    if kind is not None:
        if kind not in known:
            raise ConfigError(f"unknown format {kind!r}; one of: {', '.join(known)}")
        return known[kind]
    return known.get(path.rpartition(".")[2].lower(), "text")


def shape_of_files(paths: Sequence[str], kind: str | None) -> str:
    """Return what files hold, as `shape_of` does; DataError where one holds another thing."""
    first = shape_of(paths[0], kind)
    for path in paths[1:]:
        if (found := shape_of(path, kind)) != first:
            raise DataError(f"{path}: {found}, but {paths[0]}: {first}")
    return first


def read_items(path: str, key: str) -> Corpus:
    """Read a list of items a line, texts or numbers, under `key`, and their `negatives` if any.

    Raises DataError naming the row and what was expected.
    """
    table = read_table(path, format="jsonl")
    negatives = _lists(table, NEGATIVES) if NEGATIVES in table.columns else None
    return Corpus(shown(path), _lists(table, key), negatives)


def _lists(table: Table, key: str) -> list[list[str]]:
    found = []
    for i, cell in enumerate(table.column(key)):
        if not isinstance(cell, list) or not cell:
            raise DataError(f"{table.where(i, key)}: expected a list of one item or more")
        if not all(isinstance(item, (str, int)) and not isinstance(item, bool) for item in cell):
            raise DataError(f"{table.where(i, key)}: items must be texts or whole numbers")
        found.append([str(item) for item in cell])
    return found


def read_binary_frames(path: str) -> Corpus:
    """Read frames from npz: `x` [N, T, I] or, one after the other, [sum T, I] beside `lengths`."""
    name = shown(path)
    found = read_frames(name, read_bytes(path), "npz", label=None)
    return Corpus(name, check_frames(found.inputs, name))


def check_frames(sequences: Sequence[Any], name: str) -> list[Any]:
    """Return frames as float32; DataError where one holds another value than 0 and 1."""
    checked = []
    for i, given in enumerate(sequences, start=1):
        frames = np.asarray(given, np.float32)
        if frames.ndim != 2 or not frames.size:
            raise DataError(f"{name}, sequence {i}: expected frames [T, I], got {frames.shape}")
        if not ((frames == 0) | (frames == 1)).all():
            raise DataError(f"{name}, sequence {i}: holds values other than 0 and 1")
        checked.append(frames)
    return checked
