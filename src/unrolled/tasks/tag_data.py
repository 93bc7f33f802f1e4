"""What a tagging run decides from its data: the scheme, the words, where weights start from."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from unrolled.config import TaggingSpec
from unrolled.data.moments import Moments
from unrolled.data.schemes import detect, first_illegal, legal
from unrolled.data.sequences import Sequences, read_sequences
from unrolled.data.shards import SourceOf, each
from unrolled.data.vectors import Vectors
from unrolled.data.vocab import SPECIALS, LabelVocabulary, Vocabulary
from unrolled.errors import ConfigError, DataError
from unrolled.options import TagOptions
from unrolled.spec import Scheme, TaggerSpec
from unrolled.tasks.base import Plan, Run, hash_shards, hash_texts
from unrolled.tasks.words import hashes

# Above this share of sequences that break a scheme's rules, the tags are taken to be in another.
TOLERATED = 0.05


@dataclass(frozen=True)
class Survey:
    """What one pass over all of the data tells: its tags, intents and features, and its hash."""

    labels: LabelVocabulary
    intents: LabelVocabulary | None
    features: tuple[str, ...]
    form: str
    hash: str


@dataclass(frozen=True)
class Words:
    """How often each word occurs, and how often past `max_length`, where nothing is learned."""

    counts: Counter[str]
    beyond: Counter[str]


@dataclass(frozen=True)
class Prepared:
    """What a run starts from beside its plan: words and their vectors, or how frames spread."""

    words: Words | None = None
    vectors: Vectors | None = None
    moments: Moments | None = None


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


def survey(source: SourceOf[Sequences], options: TagOptions) -> Survey:
    """Read all of the data once; DataError where there is one tag only, or one sequence only."""
    tags: set[str] = set()
    intents: set[str] = set()
    hashed: list[str] = []
    features: tuple[str, ...] = ()
    form, count, vectors = "", 0, hashes(options.vectors)
    for part in each(source):
        tags.update(chain.from_iterable(part.tags))
        intents.update(part.intents)
        hashed.append(data_hash(part, vectors))
        features, form, count = part.features, part.form, count + len(part)
    if count < 2:
        raise DataError(f"{source.name}: {count} sequence(s); at least 2 are needed to train")
    labels = LabelVocabulary.build(tags, name=f"{source.name}, tags")
    whole = None
    if options.intent:
        whole = LabelVocabulary.build(intents, name=f"{source.name}, intents")
    return Survey(labels, whole, features, form, hash_shards(hashed))


def tagging_spec(
    source: SourceOf[Sequences], found: Survey, options: TagOptions, run: Run
) -> TaggingSpec:
    """Decide the scheme, and whether answers keep to it, from options and tags."""
    labels = found.labels
    scheme: Scheme = detect(labels.labels) if options.scheme == "auto" else options.scheme
    constrained = scheme != "none" and options.constraints != "none"
    if constrained:
        constrained = _keeps_to(source, labels, scheme, options, run)
    if constrained and options.constraints == "train" and options.head != "crf":
        raise ConfigError("constraints 'train' is for head 'crf'; a softmax has no transitions")
    return TaggingSpec(
        intent=options.intent,
        scheme=scheme,
        constrained=constrained,
        constrained_training=constrained and options.constraints == "train",
        word_dropout=options.word_dropout,
        features=found.features,
        sequence=options.sequence if found.features else "",
        time=options.time if found.features else "",
    )


def _keeps_to(
    source: SourceOf[Sequences],
    labels: LabelVocabulary,
    scheme: Scheme,
    options: TagOptions,
    run: Run,
) -> bool:
    """Whether answers are to keep to the scheme; tells where the training tags do not."""
    allowed = legal(labels.labels, scheme)
    broken = count = 0
    place = ""
    for part in each(source):
        count += len(part)
        for i, tags in enumerate(part.tags):
            t = first_illegal(labels.encode(tags).tolist(), allowed)
            if t is None:
                continue
            broken += 1
            if not place:
                before = "at the start" if t == 0 else f"after {tags[t - 1]!r}"
                place = f"{part.where(i, t)}: tag {tags[t]!r} {before}"
    if not broken:
        return True
    if options.constraints == "train":
        raise DataError(f"{place} is not legal {scheme.upper()}; give --constraints decode or none")
    share = f"{broken} of {count} training sequences are not legal {scheme.upper()}"
    if options.scheme == "auto" and broken > TOLERATED * count:
        run.notify(f"{share}, the first at {place}; answers are not held to it")
        return False
    run.notify(f"{share}, the first at {place}; answers keep to it (see constraints)")
    return True


def count_words(source: SourceOf[Sequences], limit: int) -> Words:
    """Count the words of all sentences, and those of them that stand past `limit`."""
    found = Words(Counter(), Counter())
    for part in each(source):
        for sentence in part.inputs:
            found.counts.update(sentence)
            found.beyond.update(sentence[limit:])
    return found


def hiding_rates(plan: Plan, words: Words | None) -> tuple[Any, Any]:
    """Return with which probability each word and each character is read as `<unk>` in training.

    A / (A + n) for what is seen n times, characters in different words (Kiperwasser and Goldberg
    2016, section 5): what is rare teaches what `<unk>` means. None where it is not read.
    """
    spec, tagging = plan.network, plan.data.tagging or TaggingSpec()
    known, spelled = (plan.vocabularies.get(role) for role in ("source", "characters"))
    share = tagging.word_dropout
    assert isinstance(spec, TaggerSpec)
    of_words = of_characters = None
    if share and words and isinstance(known, Vocabulary):
        read = words.counts - words.beyond
        of_words = _rates(share, known.encode_words(read), list(read.values()), len(known))
    if share and words and isinstance(spelled, Vocabulary):
        limit = tagging.max_word_length
        rows = (spelled.encode(word)[:limit] for word in words.counts)
        of_characters = _rates(share, chain.from_iterable(rows), None, len(spelled))
    return of_words, of_characters


def _rates(share: float, ids: Iterable[int], weights: list[int] | None, size: int) -> Any:
    import torch

    seen = np.fromiter(ids, dtype=np.int64)
    rates = share / (share + np.bincount(seen, weights=weights, minlength=size))
    rates[: len(SPECIALS)] = 0
    return torch.from_numpy(rates.astype(np.float32))


def data_hash(sequences: Sequences, vectors: Sequence[str]) -> str:
    """Return the SHA-256 of inputs, tags, intents and the hashes of the vectors' files."""
    tags = [" ".join(found) for found in sequences.tags]
    return hash_texts([_text(x) for x in sequences.inputs], tags, list(sequences.intents), vectors)


def _text(sequence: Any) -> str:
    if isinstance(sequence, np.ndarray):
        return hashlib.sha256(sequence.tobytes()).hexdigest()
    return " ".join(sequence)
