"""Caption: a vector, a set of regions or a set of attributes in, a text about it out.

Training needs the `train` extra; a fitted captioner predicts without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled.artifact import Artifact
from unrolled.config import CaptioningSpec, DataSpec, TrainSpec, VocabularySpec
from unrolled.data import captions
from unrolled.data.batch import Batch, buckets, translation_batch
from unrolled.data.captions import Described, Input
from unrolled.data.split import split as split_keys
from unrolled.data.vocab import LabelVocabulary, Vocabulary, suggest_tokens
from unrolled.errors import ConfigError, DataError
from unrolled.options import CaptionOptions, recurrent_spec, resolve_tokens
from unrolled.runtime.captioner_model import CaptionerModel
from unrolled.spec import AttentionSpec, CaptionerSpec, CaptionInputs
from unrolled.tasks.base import Plan, Run, cut, execute, hash_texts, hide_tokens
from unrolled.tasks.evaluate import evaluate_captioner

if TYPE_CHECKING:
    from unrolled.train.loop import Job, Score, Weights


def train(
    things: Described,
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
    keys = things.keys()
    if len(set(keys)) < 2:
        raise DataError(
            f"{things.name}: {len(set(keys))} distinct item(s); at least 2 are needed to train"
        )
    data_hash, validation_hash = _hash(things), ""
    if validation is None:
        kept, held = split_keys(keys, training.validation_fraction, training.seed)
        things, validation = things.take(kept), things.take(held)
    else:
        _check_same(things, validation)
        validation_hash = _hash(validation)
    plan = replace(make_plan(things, options, training, data_hash), validation_hash=validation_hash)
    held_out = validation
    return execute(plan, run, lambda **hooks: make_job(plan, things, held_out, run, **hooks))


def _hash(things: Described) -> str:
    return hash_texts(things.keys(), ["\x1d".join(texts) for texts in things.captions])


def _check_same(things: Described, validation: Described) -> None:
    if things.kind != validation.kind:
        raise DataError(f"{validation.name}: {validation.kind}, but {things.name}: {things.kind}")
    if things.kind != "attributes":
        ours, theirs = things.inputs[0].shape[1], validation.inputs[0].shape[1]
        if ours != theirs:
            raise DataError(
                f"{validation.name}: {theirs} numbers an item, but {things.name}: {ours}"
            )


def make_plan(
    things: Described, options: CaptionOptions, training: TrainSpec, data_hash: str
) -> Plan:
    """Fix the vocabularies, the network and the reading of data from options and data."""
    if options.bidirectional or options.initial_state != "zeros":
        raise ConfigError(
            "bidirectional and initial_state are not for captions: a caption is written in one "
            "direction, from a state that comes from what it describes"
        )
    texts = [text for found in things.captions for text in found]
    spec = VocabularySpec(
        tokens=resolve_tokens(options.tokens, suggest_tokens(texts)),
        lowercase=options.lowercase,
        min_count=options.min_count,
        max_size=options.max_size,
    )
    target = Vocabulary.build(texts, spec)
    vocabularies: dict[str, Vocabulary | LabelVocabulary] = {"target": target}
    size = places = 0
    if things.kind == "attributes":
        named = VocabularySpec(tokens="word", max_size=options.max_size)
        words = (name for given in things.inputs for name in given)
        vocabularies["source"] = source = Vocabulary.of_words(words, named)
        size = len(source)
    else:
        size = things.inputs[0].shape[1]
        places = max(map(len, things.inputs)) if options.positions else 0
    longest = max(min(len(target.encode(text)), options.max_length) for text in texts)
    return Plan(
        task="caption",
        network=network_spec(options, things.kind, size, places, len(target)),
        data=DataSpec(
            source=options.features,
            target=options.caption,
            target_vocabulary=spec,
            max_length=options.max_length,
            captioning=CaptioningSpec(longest=longest),
        ),
        training=training,
        vocabularies=vocabularies,
        data_hash=data_hash,
        token_dropout=options.token_dropout if things.kind == "attributes" else 0.0,
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
    things: Described,
    validation: Described,
    run: Run,
    *,
    keep: Callable[[Weights, dict[str, Any]], None],
    recall: Callable[[], Weights],
) -> Job:
    """Return what the training loop needs: the model, its batches, its loss, its validation."""
    from unrolled.nn.build import build
    from unrolled.train.loop import Job, epoch_generator, seed_all

    training, target = plan.training, plan.vocabularies["target"]
    assert isinstance(target, Vocabulary)
    inputs = _encoded(plan, things)
    owners = [i for i, found in enumerate(things.captions) for _ in found]
    targets = [target.encode(text) for found in things.captions for text in found]
    cut(targets, plan.data.max_length, "texts", lambda k: things.where(owners[k]), run)
    lengths, sizes = [len(tokens) for tokens in targets], [len(inputs[i]) for i in owners]

    def batches(epoch: int) -> list[Batch]:
        order = buckets(
            lengths,
            target_lengths=sizes,
            batch_size=training.batch_size,
            batch_tokens=training.batch_tokens,
            generator=epoch_generator(training.seed, epoch),
        )
        return [_batch(inputs, owners, targets, chosen) for chosen in order]

    seed_all(training.seed)
    model = build(plan.network, engine=training.engine)
    if things.kind != "attributes":
        _standardise(model, things.inputs)
    return Job(
        model=model,
        batches=batches,
        loss=_loss(plan),
        validate=_validation(plan, validation),
        keep=keep,
        recall=recall,
        signature=plan.signature(),
    )


def _encoded(plan: Plan, things: Described) -> list[Input]:
    source = plan.vocabularies.get("source")
    if isinstance(source, Vocabulary):
        return [np.array(source.encode_words(given), dtype=np.int64) for given in things.inputs]
    return list(things.inputs)


def _batch(
    inputs: Sequence[Input], owners: Sequence[int], targets: Sequence[Sequence[int]], chosen: Any
) -> Batch:
    source, lengths = captions.batch([inputs[owners[k]] for k in chosen])
    return replace(
        translation_batch(targets, targets, chosen), source=source, source_lengths=lengths
    )


def _standardise(model: Any, inputs: Sequence[Input]) -> None:
    """Set the mean and the scale of each number over all rows; one that never varies becomes 0."""
    import torch

    rows = np.concatenate(list(inputs)).astype(np.float64)
    spread = rows.std(axis=0)
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-6)
    model.feature_mean.copy_(torch.from_numpy(rows.mean(axis=0)))
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

    things = things.grouped()
    limit = plan.training.validation_limit
    if 0 < limit < len(things):
        order = np.random.default_rng(plan.training.seed).permutation(len(things))
        things = things.take(order[:limit])

    def validate(weights: Weights) -> Score:
        model = CaptionerModel.from_artifact(plan.artifact(weights))
        metrics = evaluate_captioner(model, things, with_bleu=False)
        kept = {k: metrics[k] for k in ("per", "wer", "log_loss")}
        return Score(kept, (metrics["log_loss"], metrics["per"]))

    return validate
