"""Word vectors from a text file: word2vec's, GloVe's and fastText's, a word and its numbers a line.

A first line of two whole numbers (word2vec, fastText) says how many there are and how wide.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unrolled.data.source import read_bytes, shown
from unrolled.errors import DataError


@dataclass(frozen=True)
class Vectors:
    """Vectors of some words of a file that has `count` of them, each `size` wide."""

    size: int
    count: int
    of: dict[str, NDArray[np.float32]]

    def of_word(self, word: str) -> NDArray[np.float32] | None:
        """Return the vector of a word, or of its lower-cased form, or None."""
        found = self.of.get(word)
        return self.of.get(word.lower()) if found is None else found


def read_vectors(path: str | Path, known: Collection[str], *, further: int = 0) -> Vectors:
    """Read the vectors of the words in `known`, and of the first `further` others.

    The first vector of a word counts. Raises DataError, naming the row, for a line with another
    count of numbers and for what is no finite number.
    """
    name = shown(path)
    wanted = {form for word in known for form in (word, word.lower())}
    of: dict[str, NDArray[np.float32]] = {}
    size = count = 0
    for row, line in _lines(name, read_bytes(path)):
        if row == 1 and _is_header(line):
            size = int(line.split()[1])
            continue
        size = size or len(line.split(" ")) - 1
        word, *numbers = line.rsplit(" ", size)
        if len(numbers) != size or not size or not word:
            found, wish = len(numbers), size or "some"
            raise DataError(f"{name}, row {row}: {found} numbers after the word, expected {wish}")
        count += 1
        if word in of or (word not in wanted and further <= 0):
            continue
        further -= word not in wanted
        of[word] = _vector(name, row, numbers)
    if not count:
        raise DataError(f"{name}: no word vectors in the file")
    return Vectors(size, count, of)


def _lines(name: str, content: bytes) -> Iterator[tuple[int, str]]:
    for row, line in enumerate(content.split(b"\n"), start=1):
        stripped = line.rstrip(b" \r\t")
        if not stripped:
            continue
        try:
            yield row, stripped.decode("utf-8").replace("\t", " ")
        except UnicodeDecodeError:
            raise DataError(f"{name}, row {row}: not UTF-8; save the file as UTF-8") from None


def _is_header(line: str) -> bool:
    fields = line.split()
    return len(fields) == 2 and all(field.isdecimal() for field in fields)


def _vector(name: str, row: int, numbers: list[str]) -> NDArray[np.float32]:
    try:
        vector = np.array(numbers, dtype=np.float32)
    except ValueError:
        raise DataError(f"{name}, row {row}: expected numbers after the word") from None
    if not np.isfinite(vector).all():
        raise DataError(f"{name}, row {row}: a number is not finite")
    return vector
