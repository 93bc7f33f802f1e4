"""A text as one long stream of ids, kept in a file, so that a text may be larger than memory.

The text is read line by line, twice: to count its units, and to write their ids. Where a unit is a
word or of BPE, `</s>` stands for the end of a line.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.config import VocabularySpec
from unrolled.data import vocab
from unrolled.data.source import shown, unreadable
from unrolled.data.vocab import BOS, EOS, SPECIALS, Vocabulary, normalise
from unrolled.errors import DataError

Ids = npt.NDArray[np.int32]
Lines = Callable[[], Iterator[str]]

# A line longer than this is read in pieces, so that a text without line ends is no exception.
LINE = 1 << 16
BPE_SAMPLE = 20_000_000


def file_lines(path: str | Path) -> Lines:
    """Return a function that yields the lines of a UTF-8 file with their ends, from the start.

    Raises DataError where the file is missing, empty or not UTF-8.
    """

    def lines() -> Iterator[str]:
        row = 0
        try:
            with Path(path).open(encoding="utf-8-sig", newline="") as stream:
                while line := stream.readline(LINE):
                    row += 1
                    yield line.replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{shown(path)}: a byte near row {row + 1} is not UTF-8 ({error.reason}); "
                "save the file as UTF-8"
            ) from None
        except OSError as error:
            raise unreadable(path, error) from None
        if not row:
            raise DataError(f"{shown(path)}: the file is empty")

    return lines


def files_lines(paths: Sequence[str | Path]) -> Lines:
    """Return a function that yields the lines of files one after the other, as `file_lines` does.

    The end of a file is the end of a line, so that no unit runs from one file into the next.
    """

    def lines() -> Iterator[str]:
        last = "\n"
        for path in paths:
            if not last.endswith("\n"):
                yield "\n"
            for last in file_lines(path)():
                yield last

    return lines


def text_lines(text: str) -> Lines:
    """Return a function that yields the lines of a text with their ends."""
    return lambda: iter(io.StringIO(text, newline="\n"))


def stream_hash(lines: Lines) -> str:
    """Return the SHA-256 of a text, the record of what a model learned from."""
    digest = hashlib.sha256()
    for line in lines():
        digest.update(line.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def count_characters(lines: Lines) -> int:
    """Return how many characters a text has, the ends of its lines among them."""
    return sum(len(normalise(line)) for line in lines())


def build_vocabulary(lines: Lines, spec: VocabularySpec) -> Vocabulary:
    """Count the units of a text without holding it; BPE is learned from its first 20 MB.

    Raises DataError where no unit is left.
    """
    if spec.tokens == "bpe":
        return Vocabulary.build(_sample(lines), spec)
    counts: Counter[str] = Counter()
    for line in lines():
        seen = normalise(line, lowercase=spec.lowercase)
        counts.update(seen.split() if spec.tokens == "word" else seen)
    units = vocab.kept(counts, spec)
    if not units:
        raise DataError(
            f"the vocabulary is empty: no {spec.tokens} occurs at least {spec.min_count} times "
            "(min_count)"
        )
    return Vocabulary(spec, (*SPECIALS, *units))


def _sample(lines: Lines) -> list[str]:
    found, size = [], 0
    for line in lines():
        found.append(line.removesuffix("\n"))
        size += len(line)
        if size > BPE_SAMPLE:
            break
    return [line for line in found if line]


def encode_text(text: str, vocabulary: Vocabulary) -> list[int]:
    """Return the ids of a text; where units are no characters, `</s>` stands for a line's end."""
    if vocabulary.spec.tokens == "char":
        return vocabulary.encode(text)
    ids: list[int] = []
    for number, line in enumerate(text.split("\n")):
        if number:
            ids.append(EOS)
        ids += vocabulary.encode(line)
    return ids


def write_ids(lines: Lines, vocabulary: Vocabulary, *, name: str = "the text") -> Ids:
    """Return `<s>` and the ids of a text as an array that lies in a temporary file, not in memory.

    Raises DataError where the text holds no unit.
    """
    with tempfile.TemporaryFile() as stream:
        stream.write(np.array([BOS], np.int32).tobytes())
        count = 1
        for line in lines():
            ids = np.array(encode_text(line, vocabulary), np.int32)
            stream.write(ids.tobytes())
            count += len(ids)
        if count == 1:
            raise DataError(f"{name}: the text holds no unit to read")
        stream.flush()
        # The mapping keeps the file alive; it has no name and goes with the array.
        return np.memmap(stream, np.int32, mode="r", shape=(count,))


class Streams(Sequence[tuple[Any, Any]]):
    """Batches of N contiguous streams for truncated BPTT, cut from `ids` when asked for.

    Stream n holds the n-th part of the text, and batch k the k-th window of every stream: inputs
    [N, T] and, one step later, targets [N, T], int64. What does not fill a step of all streams is
    left out. With `jitter` above 0 a window has round(bptt * (1 + jitter * normal)) steps.
    """

    def __init__(
        self,
        ids: Ids,
        rows: int,
        bptt: int,
        jitter: float = 0.0,
        generator: np.random.Generator | None = None,
    ) -> None:
        self.ids = ids
        self.rows = max(1, min(rows, (len(ids) - 1) // 2))
        self.steps = (len(ids) - 1) // self.rows
        if self.steps < 1:
            raise DataError(f"a text of {len(ids)} units is too short to learn from")
        ends: list[int] = []
        at = 0
        while at < self.steps:
            size = bptt
            if jitter and generator is not None:
                size = max(1, round(bptt * (1 + jitter * float(generator.standard_normal()))))
            at = min(at + size, self.steps)
            ends.append(at)
        self.windows = list(zip([0, *ends[:-1]], ends, strict=True))

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, k: Any) -> tuple[Any, Any]:
        begin, end = self.windows[k]
        starts = self.steps * np.arange(self.rows)
        found = np.stack([self.ids[s + begin : s + end + 1] for s in starts]).astype(np.int64)
        return found[:, :-1], found[:, 1:]
