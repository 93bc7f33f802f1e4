"""Caption: a vector, a set of regions or a set of attributes in, a text about it out.

Training needs the `train` extra; a fitted captioner predicts without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled.artifact import Artifact
from unrolled.config import CaptioningSpec, DataSpec, TrainSpec, VocabularySpec
from unrolled.data import captions
from unrolled.data.batch import Batch, translation_batch
from unrolled.data.captions import Described, Input
from unrolled.data.moments import Moments
from unrolled.data.shards import (
    FileShards,
    SourceOf,
    as_source,
    check_form,
    divided,
    each,
    first_of,
)
from unrolled.data.vocab import LabelVocabulary, Vocabulary, suggest_tokens
from unrolled.errors import ConfigError, DataError
from unrolled.options import CaptionOptions, recurrent_spec, resolve_tokens
from unrolled.runtime.captioner_model import CaptionerModel
from unrolled.spec import AttentionSpec, CaptionerSpec, CaptionInputs
from unrolled.tasks.base import Plan, Run, execute, hash_shards, hash_texts, hide_tokens
from unrolled.tasks.evaluate import evaluate_captioner
from unrolled.tasks.shelf import Cutter, Lengths, Shelf, check_shards, epoch_of, limited, shelve

if TYPE_CHECKING:
    from unrolled.train.loop import Job, Score, Weights


@dataclass(frozen=True)
class EncodedThings:
    """Things of a shard as arrays, and every text about one as ids: text k is about `owners[k]`."""

    inputs: Sequence[Input]
    owners: Sequence[int]
    targets: Sequence[Sequence[int]]

    @property
    def lengths(self) -> Lengths:
        """How long the texts are, and how large what each is about."""
        return list(map(len, self.targets)), [len(self.inputs[i]) for i in self.owners]

    def batch(self, index: Any) -> Batch:
        """Return the texts at `index` [N] and what they are about, padded."""
        source, lengths = captions.batch([self.inputs[self.owners[k]] for k in index])
        batch = translation_batch(self.targets, self.targets, index)
        return replace(batch, source=source, source_lengths=lengths)


@dataclass(frozen=True)
class Survey:
    """What one pass over all of the data tells: its hash, and what its things are."""

    hash: str
    kind: CaptionInputs
    form: str


@dataclass(frozen=True)
class Numbers:
    """Of things that are numbers: their mean and spread, and how many regions one has at most.

    Moments are of those that are learned, the largest may be one that is validated on.
    """

    moments: Moments
    longest: int


def train(
    things: Described | FileShards[Described],
    options: CaptionOptions,
    training: TrainSpec,
    *,
    validation: Described | None = None,
    run: Run | None = None,
) -> Artifact:
    """Train a captioner on `things` and their texts; return the best by validation log loss.

    Each text of a thing is an example. Without `validation`, `training.validation_fraction` of the
    distinct things are held out. Raises DataError for data that cannot be trained on.
    """
    run = run or Run()
    if options.bidirectional or options.initial_state != "zeros":
        raise ConfigError(
            "bidirectional and initial_state are not for captions: a caption is written in one "
            "direction, from a state that comes from what it describes"
        )
    found, told = survey(as_source(things)), ""
    if validation is not None:
        check_form(validation, found.form, things.name)
        told = _hash(validation)
    source, held = divided(things, validation, training.validation_fraction, training.seed)
    numbers = None if found.kind == "attributes" else count_numbers(source, held)
    plan = make_plan(source, found, numbers, options, training)
    plan = replace(plan, validation_hash=told)
    return execute(plan, run, lambda **hooks: make_job(plan, source, numbers, held, run, **hooks))


def survey(source: SourceOf[Described]) -> Survey:
    """Read all of the data once; DataError where no two things differ."""
    hashed: list[str] = []
    some: set[str] = set()
    found: dict[str, CaptionInputs] = {}
    for part in each(source):
        hashed.append(_hash(part))
        if len(part):
            found[part.form] = part.kind
        if len(some) < 2:
            some.update(part.keys())
    if len(some) < 2:
        raise DataError(
            f"{source.name}: {len(some)} distinct item(s); at least 2 are needed to train"
        )
    form, kind = next(iter(found.items()))
    return Survey(hash_shards(hashed), kind, form)


def _hash(things: Described) -> str:
    return hash_texts(things.keys(), ["\x1d".join(texts) for texts in things.captions])


def count_numbers(source: SourceOf[Described], held: Described) -> Numbers:
    """Return the mean and the spread of each number in `source`, and the longest thing of both."""
    longest = max(map(len, held.inputs))

    def rows() -> Iterator[Any]:
        nonlocal longest
        for part in each(source):
            if len(part):
                longest = max(longest, *map(len, part.inputs))
                yield np.concatenate(list(part.inputs))

    moments = Moments.over(rows(), source.name)
    return Numbers(moments, longest)


def _texts(source: SourceOf[Described]) -> Iterator[str]:
    return (text for part in each(source) for text in _texts_of(part))


def _texts_of(things: Described) -> Iterator[str]:
    return (text for found in things.captions for text in found)


def make_plan(
    source: SourceOf[Described],
    found: Survey,
    numbers: Numbers | None,
    options: CaptionOptions,
    training: TrainSpec,
) -> Plan:
    """Fix the vocabularies, the network and the reading of data from options and data.

    Raises ConfigError where BPE is asked for shards, since it reads all texts at once.
    """
    suggested = suggest_tokens(_texts_of(first_of(source)))
    spec = VocabularySpec(
        tokens=resolve_tokens(options.tokens, suggested),
        lowercase=options.lowercase,
        min_count=options.min_count,
        max_size=options.max_size,
    )
    check_shards(spec.tokens, source)
    target = Vocabulary.build(_texts(source), spec)
    vocabularies: dict[str, Vocabulary | LabelVocabulary] = {"target": target}
    places = 0
    if numbers is None:
        named = VocabularySpec(tokens="word", max_size=options.max_size)
        words = (name for part in each(source) for given in part.inputs for name in given)
        vocabularies["source"] = known = Vocabulary.of_words(words, named)
        size = len(known)
    else:
        size = len(numbers.moments.mean)
        places = numbers.longest if options.positions else 0
    longest = max(min(len(target.encode(text)), options.max_length) for text in _texts(source))
    return Plan(
        task="caption",
        network=network_spec(options, found.kind, size, places, len(target)),
        data=DataSpec(
            source=options.features,
            target=options.caption,
            target_vocabulary=spec,
            max_length=options.max_length,
            captioning=CaptioningSpec(longest=longest),
        ),
        training=training,
        vocabularies=vocabularies,
        data_hash=found.hash,
        token_dropout=options.token_dropout if numbers is None else 0.0,
    )


def network_spec(
    options: CaptionOptions,
    inputs: CaptionInputs,
    feature_size: int,
    positions: int,
    target_vocab_size: int,
) -> CaptionerSpec:
    """Return the network that `options` describe for inputs and a vocabulary of these sizes."""
    hidden, condition = options.hidden_size, options.condition
    memory = options.memory_size or hidden
    if condition == "auto":
        condition = "every" if inputs == "vector" else "attend"
    attention = None
    if condition == "attend":
        scored = options.attention in ("additive", "concat")
        attention = AttentionSpec(
            kind=options.attention,
            query_size=hidden,
            key_size=memory,
            size=(options.attention_size or hidden) if scored else 0,
        )
    reads = options.embedding_size
    if condition == "every" or (attention is not None and attention.kind == "additive"):
        reads += memory
    elif options.input_feeding:
        reads += hidden
    return CaptionerSpec(
        inputs=inputs,
        feature_size=feature_size,
        memory_size=memory,
        target_vocab_size=target_vocab_size,
        target_embedding_size=options.embedding_size,
        decoder=recurrent_spec(options, input_size=reads, layers=options.layers, decoder=True),
        readout_size=hidden,
        condition=condition,
        attention=attention,
        input_feeding=options.input_feeding,
        positions=positions,
        dropout=options.dropout,
    )


def make_job(
    plan: Plan,
    source: SourceOf[Described],
    numbers: Numbers | None,
    validation: Described,
    run: Run,
    *,
    keep: Callable[[Weights, dict[str, Any]], None],
    recall: Callable[[], Weights],
) -> Job:
    """Return what the training loop needs: the model, its batches, its loss, its validation."""
    from unrolled.nn.build import build
    from unrolled.train.loop import Job, seed_all

    training = plan.training
    shelf = _shelf(plan, source, run)
    seed_all(training.seed)
    model = build(plan.network, engine=training.engine)
    if numbers is not None:
        _standardise(model, numbers.moments)
    return Job(
        model=model,
        batches=lambda epoch: epoch_of(shelf, training, epoch),
        loss=_loss(plan),
        validate=_validation(plan, validation),
        keep=keep,
        recall=recall,
        signature=plan.signature(),
    )


def _shelf(plan: Plan, source: SourceOf[Described], run: Run) -> Shelf[Described]:
    """Encode every shard once, for its lengths; tell how many texts are cut."""
    known, target = plan.vocabularies.get("source"), plan.vocabularies["target"]
    assert isinstance(target, Vocabulary)

    def encode(things: Described, cut: Cutter) -> EncodedThings:
        inputs = things.inputs
        if isinstance(known, Vocabulary):
            inputs = [np.array(known.encode_words(given), dtype=np.int64) for given in inputs]
        owners = [i for i, found in enumerate(things.captions) for _ in found]
        targets = [target.encode(text) for found in things.captions for text in found]
        short = cut(targets, "texts", lambda k: things.where(owners[k]))
        return EncodedThings(inputs, owners, short)

    return shelve(source, encode, plan.data.max_length, run, "texts")


def _standardise(model: Any, moments: Moments) -> None:
    """Set the mean and the scale of each number over all rows; one that never varies becomes 0."""
    import torch

    spread = moments.spread
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-6)
    model.feature_mean.copy_(torch.from_numpy(moments.mean))
    model.feature_scale.copy_(torch.from_numpy(scale))


def _loss(plan: Plan) -> Callable[..., Any]:
    import torch

    from unrolled.train.losses import cross_entropy

    def loss(model: Any, batch: Batch, share: float, generator: torch.Generator) -> Any:
        assert batch.target_in is not None
        assert batch.target_out is not None
        assert batch.target_lengths is not None
        device = next(model.parameters()).device
        source = torch.from_numpy(batch.source)
        if plan.token_dropout:
            source = hide_tokens(source, plan.token_dropout, generator)
        logits, inside = model.packed_logits(
            source.to(device),
            torch.from_numpy(batch.source_lengths),
            torch.from_numpy(batch.target_in).to(device),
            torch.from_numpy(batch.target_lengths),
            teacher_forcing=share,
            generator=generator,
        )
        targets = torch.from_numpy(batch.target_out).to(device)[inside]
        return cross_entropy(logits, targets, label_smoothing=plan.training.label_smoothing)

    return loss


def _validation(plan: Plan, things: Described) -> Callable[[Weights], Score]:
    """Score through the runtime: by the log-probability of all texts, then by greedy decoding.

    A thing has many right texts, of which a file holds few: the distance to the nearest says less
    than how likely they are.
    """
    from unrolled.train.loop import Score

    things = limited(things.grouped(), plan.training)

    def validate(weights: Weights) -> Score:
        model = CaptionerModel.from_artifact(plan.artifact(weights))
        metrics = evaluate_captioner(model, things, with_bleu=False)
        kept = {k: metrics[k] for k in ("per", "wer", "log_loss")}
        return Score(kept, (metrics["log_loss"], metrics["per"]))

    return validate
