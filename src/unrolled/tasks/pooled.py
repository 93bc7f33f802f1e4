"""What classify and regress share: from examples, in memory or in shards, to the loop's job."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from unrolled.config import DataSpec, FramesSpec, TrainSpec, VocabularySpec
from unrolled.data.batch import Batch, pad
from unrolled.data.examples import Examples
from unrolled.data.frames import form_of
from unrolled.data.moments import Moments
from unrolled.data.shards import (
    Shards,
    Source,
    Whole,
    check_beside,
    content_of,
    divided,
    each,
    first_of,
)
from unrolled.data.tagging import pad_frames
from unrolled.data.vectors import Vectors
from unrolled.data.vocab import LabelVocabulary, Vocabulary, suggest_tokens
from unrolled.errors import ConfigError
from unrolled.options import PooledOptions, recurrent_spec, resolve_tokens
from unrolled.spec import AttentionSpec, ClassifierSpec, RecurrentSpec, RegressorSpec
from unrolled.tasks.base import Plan, Run, hide_tokens
from unrolled.tasks.shelf import Cutter, Lengths, Shelf, check_shards, epoch_of, shelve
from unrolled.tasks.words import frame_moments, with_vectors

if TYPE_CHECKING:
    from unrolled.train.loop import Job, Score, Weights

Array = NDArray[Any]
TEXT_LENGTH = 400


@dataclass(frozen=True)
class PooledBatch(Batch):
    """A batch of one answer a sequence.

    `values` are ids [N, T] or frames [N, T, I]; `targets` [N] classes, [N, C] 0 or 1 a label, or
    [N, K] standardised numbers.
    """

    values: Array | None = None
    targets: Array | None = None


@dataclass(frozen=True)
class Encoded:
    """Sequences of a shard as ids or frames, and what they should answer as an array."""

    values: Sequence[Any]
    targets: Array

    @property
    def lengths(self) -> Lengths:
        """How long the sequences are."""
        return list(map(len, self.values)), None

    def batch(self, index: Array) -> PooledBatch:
        """Return the sequences at `index` [N], padded."""
        chosen = [self.values[i] for i in index]
        frames = isinstance(chosen[0], np.ndarray)
        values, lengths = pad_frames(chosen) if frames else pad(chosen)
        ids = np.empty((len(index), 0), np.int64) if frames else values
        return PooledBatch(ids, lengths, index, values=values, targets=self.targets[index])


@dataclass(frozen=True)
class Reading:
    """How inputs are read; of texts the vocabulary, and the vectors that embeddings begin from."""

    data: DataSpec
    vocabulary: Vocabulary | None = None
    vectors: Vectors | None = None

    @property
    def vocabularies(self) -> dict[str, Vocabulary | LabelVocabulary]:
        """Return the vocabulary of texts by its role, nothing for frames."""
        return {} if self.vocabulary is None else {"source": self.vocabulary}


def data_spec(options: PooledOptions, kind: str, **task: Any) -> DataSpec:
    """Return how a file of format `kind` is to be read, as far as the options say."""
    frames = None
    if kind == "npz" or options.features or options.sequence or options.time:
        frames = frames_spec(options)
    return DataSpec(source=options.text, frames=frames, **task)


def frames_spec(options: PooledOptions) -> FramesSpec:
    """Return how frames are to be read, as far as the options say."""
    named = tuple(name.strip() for name in options.features.split(",") if name.strip())
    return FramesSpec(
        features=named,
        sequence=options.sequence,
        time=options.time,
        mask_missing=options.missing == "mask",
    )


def sources(
    examples: Examples | Shards, validation: Examples | None, training: TrainSpec
) -> tuple[Source, Examples]:
    """Return the training examples as shards, and those to validate on, in memory.

    Without `validation`, a fraction of the distinct inputs is held out.
    """
    return divided(examples, validation, training.validation_fraction, training.seed)


def content_hash(source: Source) -> str:
    """Return the SHA-256 of all inputs and answers, in order."""
    digest = hashlib.sha256()
    for examples in each(source):
        for x, y in zip(examples.inputs, examples.targets, strict=True):
            digest.update(content_of(x) + b"\x1f" + content_of(y) + b"\x1e")
    return digest.hexdigest()


def read_as(source: Source, data: DataSpec, options: PooledOptions, run: Run) -> Reading:
    """Fix the reading of the data, and the vocabulary of texts."""
    first = first_of(source)
    if first.features:
        if options.vectors:
            raise ConfigError(f"vectors: {first.name} holds numbers; vectors are of words")
        frames = replace_struct(data.frames or frames_spec(options), features=first.features)
        return Reading(replace_struct(data, frames=frames, max_length=options.max_length))
    spec = VocabularySpec(
        tokens=resolve_tokens(options.tokens, suggest_tokens(first.inputs)),
        lowercase=options.lowercase,
        min_count=options.min_count,
        max_size=options.max_size,
    )
    limit = options.max_length or TEXT_LENGTH
    data = replace_struct(data, source_vocabulary=spec, max_length=limit)
    if options.vectors:
        if spec.tokens != "word":
            raise ConfigError(f"vectors are of words, the texts' units are {spec.tokens!r}")
        words = (word for part in each(source) for x in part.inputs for word in x.split())
        return Reading(data, *with_vectors(options.vectors, words, spec, run))
    check_shards(spec.tokens, source)
    return Reading(data, Vocabulary.build((x for part in each(source) for x in part.inputs), spec))


def scaling_of(source: Source, data: DataSpec, run: Run) -> Moments:
    """Return the moments of frames; tells of names of sequences that are in several files."""
    return frame_moments(source, run, named=bool(data.frames and data.frames.sequence))


def replace_struct(struct: Any, **changes: Any) -> Any:
    """Return a spec with some fields changed."""
    return msgspec.structs.replace(struct, **changes)


def trunk(options: PooledOptions, reading: Reading) -> dict[str, Any]:
    """Return the fields that the classifier's and the regressor's network share."""
    if reading.vocabulary is None:
        frames = reading.data.frames or FramesSpec()
        sizes = {"frame_size": len(frames.features), "mask_missing": frames.mask_missing}
        width = len(frames.features) * (2 if frames.mask_missing else 1)
    else:
        width = reading.vectors.size if reading.vectors else options.embedding_size
        sizes = {"vocab_size": len(reading.vocabulary), "embedding_size": width}
    recurrent = recurrent_spec(options, input_size=width, layers=options.layers)
    return {
        **sizes,
        "recurrent": recurrent,
        "pooling": options.pooling,
        "attention": _attention(options, recurrent),
        "dropout": options.dropout,
    }


def _attention(options: PooledOptions, recurrent: RecurrentSpec) -> AttentionSpec | None:
    if options.pooling != "attention":
        return None
    width = recurrent.output_size
    scored = options.attention in ("additive", "concat")
    return AttentionSpec(
        kind=options.attention,
        query_size=width,
        key_size=width,
        size=(options.attention_size or options.hidden_size) if scored else 0,
    )


def make_job(
    plan: Plan,
    source: Source,
    targets: Callable[[Examples], Array],
    run: Run,
    *,
    criterion: Callable[[Any, Any], tuple[Any, float]],
    prepare: Callable[[Any], None],
    validate: Callable[[Weights], Score],
    keep: Callable[[Weights, dict[str, Any]], None],
    recall: Callable[[], Weights],
) -> Job:
    """Return what the loop needs: the model, its batches, its loss and its validation.

    `targets` encodes the answers of a shard, `criterion(outputs, targets)` is the mean loss and
    what it is a mean of, `prepare` writes first values into the model.
    """
    from unrolled.nn.build import build
    from unrolled.train.loop import Job, seed_all

    training, spec = plan.training, plan.network
    assert isinstance(spec, (ClassifierSpec, RegressorSpec))
    shelf = _shelf(plan, source, targets, run)
    seed_all(training.seed)
    model = build(spec, engine=training.engine)
    prepare(model)
    return Job(
        model=model,
        batches=lambda epoch: epoch_of(shelf, training, epoch),
        loss=_loss(criterion, plan.token_dropout),
        validate=validate,
        keep=keep,
        recall=recall,
        signature=plan.signature(),
    )


def _shelf(
    plan: Plan, source: Source, targets: Callable[[Examples], Array], run: Run
) -> Shelf[Examples]:
    """Encode every shard once, for its lengths; tell how many sequences are cut."""
    vocabulary = plan.vocabularies.get("source")
    what = "sequences" if plan.data.frames else "texts"

    def encode(examples: Examples, cut: Cutter) -> Encoded:
        values = examples.inputs
        if isinstance(vocabulary, Vocabulary):
            values = [vocabulary.encode(text) for text in values]
        return Encoded(cut(values, what, examples.where), targets(examples))

    return shelve(source, encode, plan.data.max_length, run, "examples")


def _loss(
    criterion: Callable[[Any, Any], tuple[Any, float]], token_dropout: float
) -> Callable[..., Any]:
    import torch

    def loss(model: Any, batch: PooledBatch, share: float, generator: torch.Generator) -> Any:
        assert batch.values is not None
        assert batch.targets is not None
        device = next(model.parameters()).device
        values = torch.from_numpy(batch.values)
        if batch.values.ndim == 2:
            values = hide_tokens(values, token_dropout, generator)
        outputs = model(values.to(device), torch.from_numpy(batch.source_lengths))
        return criterion(outputs, torch.from_numpy(batch.targets).to(device))

    return loss


def with_validation(plan: Plan, validation: Examples | None, name: str) -> Plan:
    """Return the plan that also names its own validation data, beside that of `name`.

    Raises DataError where that is read otherwise.
    """
    if validation is None:
        return plan
    features = plan.data.frames.features if plan.data.frames else ()
    check_beside(validation, features, form_of(features), name)
    return replace(plan, validation_hash=content_hash(Whole(validation)))
