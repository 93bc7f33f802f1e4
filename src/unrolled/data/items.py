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
    """Sequences of a file: lists of items or frames [T, I]; `negatives` a list for each, if any."""

    name: str
    sequences: list[Any]
    negatives: list[list[str]] | None = None

    def take(self, index: Any) -> Corpus:
        """Return the sequences at `index`."""
        kept = None if self.negatives is None else [self.negatives[i] for i in index]
        return Corpus(self.name, [self.sequences[i] for i in index], kept)


def shape_of(path: str, kind: str | None) -> str:
    """Return what a file holds by its format or ending: "text", "items" or "frames"."""
    known = {"txt": "text", "jsonl": "items", "ndjson": "items", "npz": "frames"}
    if kind is not None:
        if kind not in known:
            raise ConfigError(f"unknown format {kind!r}; one of: {', '.join(known)}")
        return known[kind]
    return known.get(path.rpartition(".")[2].lower(), "text")


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
