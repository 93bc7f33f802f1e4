"""What tag, classify and regress begin from: words, their vectors, how frames are scaled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from unrolled.config import VocabularySpec
from unrolled.data.moments import Moments
from unrolled.data.shards import F, SourceOf, each, each_named
from unrolled.data.source import file_hash
from unrolled.data.vectors import Vectors, read_vectors
from unrolled.data.vocab import SPECIALS, Vocabulary
from unrolled.errors import DataError
from unrolled.tasks.base import Run


def with_vectors(
    path: str, words: Iterable[str], spec: VocabularySpec, run: Run
) -> tuple[Vocabulary, Vectors]:
    """Return the vocabulary of `words` and the vectors of the file at `path` that are of use.

    Words that only the file has fill what places `spec.max_size` leaves. Tells how many words of
    the data have a vector; DataError where none has.
    """
    counts = Counter(words)
    vocabulary = Vocabulary.of_words(counts.elements(), spec)
    known = vocabulary.units[len(SPECIALS) :]
    room = max(0, spec.max_size - len(vocabulary))
    vectors = read_vectors(path, known, further=room)
    covered = sum(vectors.of_word(word) is not None for word in known)
    if not covered:
        raise DataError(f"{path}: holds none of the {len(known)} words of the data")
    vocabulary = Vocabulary.of_words(counts.elements(), spec, further=vectors.of)
    run.notify(
        f"{path}: {vectors.count} vectors of width {vectors.size}; {covered} of "
        f"{len(known)} words of the data have one ({100 * covered / len(known):.1f} %), "
        f"{len(vocabulary) - len(known) - len(SPECIALS)} further words are kept"
    )
    return vocabulary, vectors


def frame_moments(source: SourceOf[F], run: Run, *, named: bool) -> Moments:
    """Return count, mean and spread of each feature over all frames.

    Where sequences are `named`, tells of names that are in several files.
    """
    parts = (
        np.concatenate(list(examples.inputs[start : start + 1024]))
        for examples in (each_named(source, run.notify) if named else each(source))
        for start in range(0, len(examples), 1024)
    )
    return Moments.over(parts, source.name)


def start_from(
    model: Any, moments: Moments | None, vocabulary: Any = None, vectors: Vectors | None = None
) -> None:
    """Write the frames' mean and scale, or the words' vectors, into the model."""
    import torch

    if moments is not None:
        with torch.no_grad():
            model.frames.mean.copy_(torch.from_numpy(moments.mean))
            model.frames.scale.copy_(torch.from_numpy(moments.scale))
    if vectors is not None:
        assert isinstance(vocabulary, Vocabulary)
        write_vectors(model.embedding.weight, vocabulary, vectors)


def write_vectors(weight: Any, vocabulary: Vocabulary, vectors: Vectors) -> None:
    """Write vectors over an embedding's rows [V, E]; bring the other rows to their spread."""
    import torch

    found = {
        k: vector
        for k, word in enumerate(vocabulary.units[len(SPECIALS) :], start=len(SPECIALS))
        if (vector := vectors.of_word(word)) is not None
    }
    known = torch.from_numpy(np.stack(list(found.values())))
    with torch.no_grad():
        weight.mul_(known.std())
        weight[list(found)] = known


def hashes(path: str) -> tuple[str, ...]:
    """Return the SHA-256 of the vectors' file, of none where there is none."""
    return (file_hash(path),) if path else ()
