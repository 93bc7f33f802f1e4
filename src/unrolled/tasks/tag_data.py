"""What a tagging run decides from its data: the scheme, the words, where weights start from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unrolled.config import TaggingSpec
from unrolled.data.schemes import detect, first_illegal, legal
from unrolled.data.sequences import Sequences, read_sequences
from unrolled.data.tagging import Corpus
from unrolled.data.vectors import Vectors
from unrolled.data.vocab import SPECIALS, LabelVocabulary, Vocabulary
from unrolled.errors import ConfigError, DataError
from unrolled.options import TagOptions
from unrolled.spec import Scheme, TaggerSpec
from unrolled.tasks.base import Plan, Run, hash_texts
from unrolled.tasks.words import hashes, write_vectors

# Above this share of sequences that break a scheme's rules, the tags are taken to be in another.
TOLERATED = 0.05


@dataclass(frozen=True)
class Prepared:
    """What a run starts from beside its plan: vectors of words, and the frames' mean and scale."""

    vectors: Vectors | None = None
    scaling: tuple[Any, Any] | None = None


def read_tagged(path: str, options: TagOptions, kind: str | None = None) -> Sequences:
    """Read what a tagger learns from, by the names that the options have for its parts."""
    return read_sequences(
        path,
        format=kind,
        column=options.column,
        words=options.words,
        intent=options.intent,
        sequence=options.sequence,
        time=options.time,
    )


def tag_labels(sequences: Sequences) -> LabelVocabulary:
    """Return the tags that occur; DataError where there is one only, or one sequence only."""
    if len(sequences) < 2:
        raise DataError(
            f"{sequences.name}: {len(sequences)} sequence(s); at least 2 are needed to train"
        )
    return LabelVocabulary.build(
        (tag for tags in sequences.tags for tag in tags), name=f"{sequences.name}, tags"
    )


def tagging_spec(
    sequences: Sequences, labels: LabelVocabulary, options: TagOptions, run: Run
) -> TaggingSpec:
    """Decide the scheme, and whether answers keep to it, from options and tags."""
    scheme: Scheme = detect(labels.labels) if options.scheme == "auto" else options.scheme
    constrained = scheme != "none" and options.constraints != "none"
    if constrained:
        constrained = _keeps_to(sequences, labels, scheme, options, run)
    if constrained and options.constraints == "train" and options.head != "crf":
        raise ConfigError("constraints 'train' is for head 'crf'; a softmax has no transitions")
    return TaggingSpec(
        intent=options.intent,
        scheme=scheme,
        constrained=constrained,
        constrained_training=constrained and options.constraints == "train",
        word_dropout=options.word_dropout,
        features=sequences.features,
        sequence=options.sequence if sequences.features else "",
        time=options.time if sequences.features else "",
    )


def _keeps_to(
    sequences: Sequences, labels: LabelVocabulary, scheme: Scheme, options: TagOptions, run: Run
) -> bool:
    """Whether answers are to keep to the scheme; tells where the training tags do not."""
    allowed = legal(labels.labels, scheme)
    found = [first_illegal(labels.encode(tags).tolist(), allowed) for tags in sequences.tags]
    broken = [i for i, t in enumerate(found) if t is not None]
    if not broken:
        return True
    i, t = broken[0], found[broken[0]]
    assert t is not None
    before = "at the start" if t == 0 else f"after {sequences.tags[i][t - 1]!r}"
    place = f"{sequences.where(i, t)}: tag {sequences.tags[i][t]!r} {before}"
    if options.constraints == "train":
        raise DataError(f"{place} is not legal {scheme.upper()}; give --constraints decode or none")
    share = f"{len(broken)} of {len(sequences)} training sequences are not legal {scheme.upper()}"
    if options.scheme == "auto" and len(broken) > TOLERATED * len(sequences):
        run.notify(f"{share}, the first at {place}; answers are not held to it")
        return False
    run.notify(f"{share}, the first at {place}; answers keep to it (see constraints)")
    return True


def frame_scaling(sequences: Sequences) -> tuple[Any, Any]:
    """Return mean and standard deviation of each feature; 1 where it is constant."""
    frames = np.concatenate(list(sequences.inputs)).astype(np.float64)
    scale = frames.std(axis=0)
    return frames.mean(axis=0), np.where(scale > 0, scale, 1.0)


def start_from(model: Any, prepared: Prepared, plan: Plan) -> None:
    """Write vectors over the embedding's rows, and the frames' mean and scale into the model."""
    import torch

    with torch.no_grad():
        if prepared.scaling is not None:
            mean, scale = prepared.scaling
            model.frames.mean.copy_(torch.from_numpy(mean))
            model.frames.scale.copy_(torch.from_numpy(scale))
    if prepared.vectors is not None:
        vocabulary = plan.vocabularies["source"]
        assert isinstance(vocabulary, Vocabulary)
        write_vectors(model.embedding.weight, vocabulary, prepared.vectors)


def hiding_rates(plan: Plan, corpus: Corpus) -> tuple[Any, Any]:
    """Return with which probability each word and each character is read as `<unk>` in training.

    A / (A + n) for what is seen n times, characters in different words (Kiperwasser and Goldberg
    2016, section 5): what is rare teaches what `<unk>` means. None where it is not read.
    """
    spec, share = plan.network, (plan.data.tagging or TaggingSpec()).word_dropout
    assert isinstance(spec, TaggerSpec)
    words = characters = None
    if share and spec.embedding_size:
        words = _rates(share, corpus.values, spec.vocab_size)
    if share and spec.characters is not None:
        characters = _rates(share, corpus.spellings, spec.characters.vocab_size)
    return words, characters


def _rates(share: float, rows: Sequence[Sequence[int]], size: int) -> Any:
    import torch

    ids = np.fromiter((k for row in rows for k in row), dtype=np.int64)
    rates = share / (share + np.bincount(ids, minlength=size))
    rates[: len(SPECIALS)] = 0
    return torch.from_numpy(rates.astype(np.float32))


def data_hash(sequences: Sequences, options: TagOptions) -> str:
    """Return the SHA-256 of inputs, tags, intents and, where there is one, the vectors' file."""
    vectors = list(hashes(options.vectors))
    tags = [" ".join(found) for found in sequences.tags]
    return hash_texts([_text(x) for x in sequences.inputs], tags, list(sequences.intents), vectors)


def _text(sequence: Any) -> str:
    if isinstance(sequence, np.ndarray):
        return hashlib.sha256(sequence.tobytes()).hexdigest()
    return " ".join(sequence)


def key_of(sequence: Any) -> Any:
    """Return what tells one sequence from another."""
    return _text(sequence) if isinstance(sequence, np.ndarray) else tuple(sequence)
