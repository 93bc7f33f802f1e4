"""From what a caller gives to batches that a network reads: texts to ids, frames to arrays."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unrolled.config import ModelConfig
from unrolled.data.batch import buckets, pad
from unrolled.data.tagging import pad_frames
from unrolled.data.vocab import Vocabulary
from unrolled.errors import DataError, ModelError
from unrolled.runtime.weights import Array

BATCH_SIZE = 256


class Encoded(NamedTuple):
    """Texts as ids, each at most as long as the model reads, and which of them were cut to that."""

    ids: list[list[int]]
    truncated: tuple[int, ...]


def encode(texts: str | Sequence[str], vocabulary: Vocabulary, max_length: int) -> Encoded:
    """Return the ids of each text, cut after `max_length`; raises DataError where one is empty."""
    ids, truncated = [], []
    for row, text in enumerate([texts] if isinstance(texts, str) else texts):
        found = vocabulary.encode(text)
        if not found:
            raise DataError(f"text {row + 1} is empty; expected at least one unit to read")
        if len(found) > max_length:
            truncated.append(row)
        ids.append(found[:max_length])
    return Encoded(ids, tuple(truncated))


def read_frames(
    sequences: Any, width: int, max_length: int, *, mask_missing: bool
) -> tuple[list[Array], tuple[int, ...]]:
    """Return sequences of frames as float32 arrays [T, I], and which of them were cut.

    `sequences` is a sequence of arrays [T, I], or an array [N, T, I]; one array [T, I] is one
    sequence. Raises DataError for other shapes, for no steps, and for a number that is not finite,
    where NaN is one unless missing numbers are masked.
    """
    one = isinstance(sequences, np.ndarray) and sequences.ndim == 2
    frames = [
        check_frames(each, width, f"sequence {row}", mask_missing=mask_missing)
        for row, each in enumerate([sequences] if one else sequences, start=1)
    ]
    if not max_length:
        return frames, ()
    long = tuple(row for row, each in enumerate(frames) if len(each) > max_length)
    return [each[:max_length] for each in frames], long


def check_frames(given: Any, width: int, where: str, *, mask_missing: bool) -> Array:
    """Return one sequence of frames as a float32 array [T, I]; DataError names `where` it is."""
    try:
        frames = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError):
        raise DataError(f"{where}: expected frames of {width} numbers") from None
    if frames.ndim != 2 or frames.shape[1] != width or not len(frames):
        raise DataError(
            f"{where}: expected frames [T, {width}] with T at least 1, got {list(frames.shape)}"
        )
    wrong = np.isinf(frames) if mask_missing else ~np.isfinite(frames)
    if wrong.any():
        t, k = (int(i) for i in np.argwhere(wrong)[0])
        kind = "missing" if np.isnan(frames[t, k]) else "not finite"
        raise DataError(f"{where}, frame {t + 1}: value {k + 1} is {kind}")
    return frames


def batches(rows: Sequence[Any], size: int) -> Iterator[tuple[Array, Array, Array]]:
    """Yield places [n], padded values [n, T] or [n, T, I] and lengths [n], of near lengths each."""
    for places in buckets([len(row) for row in rows], batch_size=size):
        chosen = [rows[i] for i in places]
        padded = pad_frames(chosen) if isinstance(chosen[0], np.ndarray) else pad(chosen)
        yield places, *padded


def units_of(vocabulary: Vocabulary, ids: Sequence[int]) -> tuple[str, ...]:
    """Return the units of ids."""
    return tuple(vocabulary.unit(index) for index in ids)


def warn_cut(truncated: tuple[int, ...], config: ModelConfig) -> None:
    """Warn the caller's caller of how many texts were cut, and which first."""
    if truncated:
        warnings.warn(
            f"{len(truncated)} of the texts are longer than {config.data.max_length} units and "
            f"were cut there, the first of them text {truncated[0] + 1}",
            stacklevel=3,
        )


def check_size(folder: Path, name: str, found: int, expected: int) -> None:
    """Raise ModelError where a vocabulary has not as many entries as its network."""
    if found != expected:
        raise ModelError(
            f"{folder}: the {name} vocabulary has {found} entries but the network has {expected}"
        )
