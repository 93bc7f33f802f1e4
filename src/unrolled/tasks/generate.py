"""Generate: what comes next in a text, in sequences of items, or in frames (autoregressive).

Training needs the `train` extra; a fitted generator answers without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled.artifact import Artifact
from unrolled.config import DataSpec, GenerationSpec, TrainSpec, VocabularySpec
from unrolled.data.batch import Batch, pad, rows_within
from unrolled.data.items import Corpus
from unrolled.data.shards import FileShards, SourceOf, as_source, divided, each
from unrolled.data.split import split as split_keys
from unrolled.data.streams import Ids, Lines, Streams, build_vocabulary, stream_hash, write_ids
from unrolled.data.tagging import pad_frames
from unrolled.data.vocab import BOS, EOS, PAD, Vocabulary
from unrolled.errors import ConfigError, DataError
from unrolled.options import GenerateOptions, recurrent_spec, resolve_tokens
from unrolled.runtime.generator_model import GeneratorModel
from unrolled.spec import GeneratorSpec, SequenceKind
from unrolled.tasks.base import Plan, Run, execute, hash_shards, hash_texts
from unrolled.tasks.measure_generator import (
    frame_metrics,
    next_item_metrics,
    sequence_metrics,
    stream_metrics,
)
from unrolled.tasks.shelf import Cutter, Lengths, Shelf, epoch_of, limited, shelve

if TYPE_CHECKING:
    from unrolled.train.loop import Job, Score, Weights


def train_text(
    lines: Lines,
    options: GenerateOptions,
    training: TrainSpec,
    *,
    validation: Lines | None = None,
    run: Run | None = None,
) -> Artifact:
    """Train a language model on one text by truncated BPTT; return the best by validation.

    `lines()` yields the text line by line, see `unrolled.data.streams`. Without `validation` the
    last `training.validation_fraction` of the text is held out. Raises DataError for a text that
    is too short.
    """
    run = run or Run()
    spec = VocabularySpec(
        tokens=resolve_tokens(options.tokens, "char"),
        lowercase=options.lowercase,
        min_count=options.min_count,
        max_size=options.max_size,
    )
    vocabulary = build_vocabulary(lines, spec)
    ids = write_ids(lines, vocabulary)
    hashes = [stream_hash(lines), stream_hash(validation) if validation else ""]
    if validation is None:
        held = max(1, round(len(ids) * training.validation_fraction))
        ids, held_ids = ids[:-held], ids[-held - 1 :]
    else:
        held_ids = write_ids(validation, vocabulary)
    if len(ids) < 3:
        raise DataError(f"a text of {len(ids)} units is too short to learn from")
    plan = _plan(options, training, "text", spec, {"source": vocabulary}, 0, hashes)
    streams = _Text(ids, held_ids)
    return execute(plan, run, lambda **hooks: _text_job(plan, streams, **hooks))


@dataclass(frozen=True)
class EncodedCorpus:
    """Sequences of a shard, each with its beginning and, where it is learned, its end."""

    sequences: Sequence[Any]

    @property
    def lengths(self) -> Lengths:
        """How many steps of each are to be told."""
        return [len(each) - 1 for each in self.sequences], None

    def batch(self, index: Any) -> Batch:
        """Return the sequences at `index` [N], padded: ids [N, T + 1] or frames [N, T + 1, I]."""
        chosen = [self.sequences[i] for i in index]
        frames = isinstance(chosen[0], np.ndarray)
        values, lengths = pad_frames(chosen) if frames else pad(chosen)
        return Batch(values, lengths - 1, index)


def train_sequences(
    corpus: Corpus | FileShards[Corpus],
    kind: SequenceKind,
    options: GenerateOptions,
    training: TrainSpec,
    *,
    validation: Corpus | None = None,
    run: Run | None = None,
) -> Artifact:
    """Train on sequences of items, or of frames of 0 and 1; return the best by validation.

    Items are judged by ndcg@10 of the last item of each validation sequence, frames by their
    likelihood. Without `validation`, a share of the sequences is held out; of shards, equal ones
    together.
    """
    run = run or Run()
    if kind == "frames" and options.tied:
        raise ConfigError("tied is for tokens; frames have no embedding")
    hashed, width = _survey(as_source(corpus), kind)
    hashes = [hashed, ""]
    if validation is not None:
        hashes[1] = _corpus_hash(validation)
        _check_width(validation, width)
    elif isinstance(corpus, Corpus):
        keys = range(len(corpus))
        keep, held = split_keys(keys, training.validation_fraction, training.seed)
        corpus, validation = corpus.take(keep), corpus.take(held)
    source, held_out = divided(corpus, validation, training.validation_fraction, training.seed)
    vocabularies = {}
    spec = VocabularySpec(tokens="word", min_count=options.min_count, max_size=options.max_size)
    if kind == "items":
        words = (item for part in each(source) for items in part.sequences for item in items)
        vocabularies["source"] = Vocabulary.of_words(words, spec)
    plan = _plan(options, training, kind, spec, vocabularies, width, hashes)
    return execute(plan, run, lambda **hooks: _sequence_job(plan, source, held_out, run, **hooks))


def _survey(source: SourceOf[Corpus], kind: SequenceKind) -> tuple[str, int]:
    """Read all of the data once; return its hash, and how wide frames are (items: 0)."""
    hashed: list[str] = []
    width = 0
    for part in each(source):
        hashed.append(_corpus_hash(part))
        if kind == "frames" and len(part):
            width = width or part.sequences[0].shape[1]
            _check_width(part, width)
    return hash_shards(hashed), width


def _check_width(corpus: Corpus, width: int) -> None:
    if width and any(frames.shape[1] != width for frames in corpus.sequences):
        raise DataError(f"{corpus.name}: frames must all have {width} values")


@dataclass(frozen=True)
class _Text:
    ids: Ids
    held: Ids


def _plan(
    options: GenerateOptions,
    training: TrainSpec,
    kind: SequenceKind,
    spec: VocabularySpec,
    vocabularies: dict[str, Vocabulary],
    width: int,
    hashes: Sequence[str],
) -> Plan:
    network = network_spec(options, len(vocabularies["source"]) if vocabularies else 0, width)
    generation = GenerationSpec(
        kind=kind,
        items=options.items,
        ends=options.ends and kind == "items",
        bptt=options.bptt,
        bptt_jitter=options.bptt_jitter,
    )
    data = DataSpec(
        source={"text": "text", "items": options.items, "frames": "x"}[kind],
        target="",
        source_vocabulary=spec,
        max_length=options.max_length,
        generation=generation,
    )
    plan = Plan("generate", network, data, training, vocabularies, hashes[0])
    return replace(plan, validation_hash=hashes[1])


def network_spec(options: GenerateOptions, vocab_size: int, frame_size: int) -> GeneratorSpec:
    """Return the network that `options` describe, for a vocabulary or for frames of this size."""
    reads = frame_size or options.embedding_size
    return GeneratorSpec(
        recurrent=recurrent_spec(options, input_size=reads, layers=options.layers),
        vocab_size=vocab_size,
        embedding_size=0 if frame_size else options.embedding_size,
        frame_size=frame_size,
        tied=options.tied,
        dropout=options.dropout,
        input_dropout=options.input_dropout,
        embedding_dropout=options.embedding_dropout,
        weight_dropout=options.weight_dropout,
    )


def _text_job(
    plan: Plan,
    text: _Text,
    *,
    keep: Callable[[Weights, dict[str, Any]], None],
    recall: Callable[[], Weights],
) -> Job:
    from unrolled.nn.build import build
    from unrolled.train.loop import Job, Score, epoch_generator, seed_all

    training, generation = plan.training, plan.data.generation or GenerationSpec()
    rows = rows_within(
        generation.bptt, batch_size=training.batch_size, batch_tokens=training.batch_tokens
    )

    def batches(epoch: int) -> Any:
        generator = epoch_generator(training.seed, epoch)
        return Streams(text.ids, rows, generation.bptt, generation.bptt_jitter, generator)

    def validate(weights: Weights) -> Score:
        limit = plan.training.validation_limit or len(text.held)
        model = GeneratorModel.from_artifact(plan.artifact(weights))
        found = stream_metrics(model, text.held[: limit + 1])
        kept = {name: found[name] for name in ("nats", "bits", "perplexity")}
        return Score(kept, (found["nats"],))

    seed_all(training.seed)
    carried: dict[str, Any] = {}
    model = build(plan.network, engine=training.engine)
    return Job(
        model=model,
        batches=batches,
        loss=_carrying_loss(plan, carried),
        validate=validate,
        keep=keep,
        recall=recall,
        signature=plan.signature(),
        carried=carried,
    )


def _carrying_loss(plan: Plan, carried: dict[str, Any]) -> Callable[..., Any]:
    """Return the mean -log p(next); the state goes on in `carried`, cut off from its gradients."""
    import torch
    from torch.nn import functional

    smoothing = plan.training.label_smoothing

    def loss(model: Any, batch: Any, share: float, generator: torch.Generator) -> Any:
        device = next(model.parameters()).device
        inputs, targets = (torch.from_numpy(part).to(device) for part in batch)
        state = unpack_state(carried)
        logits, state = model(inputs, state)
        carried.clear()
        carried.update(pack_state(state))
        flat = logits.reshape(-1, logits.shape[-1])
        found = functional.cross_entropy(flat, targets.reshape(-1), label_smoothing=smoothing)
        return found, targets.numel()

    return loss


def pack_state(state: Any) -> dict[str, Any]:
    """Return a stack's state, h or (h, c), as detached tensors by name."""
    parts = state if isinstance(state, tuple) else (state,)
    return {name: part.detach() for name, part in zip("hc", parts, strict=False)}


def unpack_state(named: dict[str, Any]) -> Any:
    """Return the state that `pack_state` named, None where there is none."""
    if "c" in named:
        return named["h"], named["c"]
    return named.get("h")


def _sequence_job(
    plan: Plan,
    source: SourceOf[Corpus],
    validation: Corpus,
    run: Run,
    *,
    keep: Callable[[Weights, dict[str, Any]], None],
    recall: Callable[[], Weights],
) -> Job:
    from unrolled.nn.build import build
    from unrolled.train.loop import Job, seed_all

    training = plan.training
    shelf = _shelf(plan, source, run)
    seed_all(training.seed)
    return Job(
        model=build(plan.network, engine=training.engine),
        batches=lambda epoch: epoch_of(shelf, training, epoch),
        loss=_sequence_loss(plan),
        validate=_sequence_validation(plan, validation),
        keep=keep,
        recall=recall,
        signature=plan.signature(),
    )


def _shelf(plan: Plan, source: SourceOf[Corpus], run: Run) -> Shelf[Corpus]:
    """Encode every shard once, for its lengths; tell how many lists of items are cut."""
    generation = plan.data.generation or GenerationSpec()
    vocabulary, end = plan.vocabularies.get("source"), [EOS] if generation.ends else []

    def encode(corpus: Corpus, cut: Cutter) -> EncodedCorpus:
        if not isinstance(vocabulary, Vocabulary):
            frames = [np.concatenate([np.zeros_like(x[:1]), x]) for x in corpus.sequences]
            return EncodedCorpus(frames)
        ids = [vocabulary.encode_words(items) for items in corpus.sequences]
        short = cut(ids, "sequences", corpus.where)
        return EncodedCorpus([[BOS, *found, *end] for found in short])

    return shelve(source, encode, plan.data.max_length, run, "sequences")


def _sequence_loss(plan: Plan) -> Callable[..., Any]:
    """Return the mean over steps of -log p(next); of frames, summed over keys."""
    import torch
    from torch.nn import functional

    frames = bool(plan.network.frame_size) if isinstance(plan.network, GeneratorSpec) else False
    smoothing = plan.training.label_smoothing

    def loss(model: Any, batch: Batch, share: float, generator: torch.Generator) -> Any:
        device = next(model.parameters()).device
        values, lengths = torch.from_numpy(batch.source), torch.from_numpy(batch.source_lengths)
        values = values.to(device)
        if frames:
            inside = torch.arange(values.shape[1] - 1)[None] < lengths[:, None]
            logits, _ = model(values[:, :-1], None, lengths)
            inside = inside.to(device)
            total = functional.binary_cross_entropy_with_logits(
                logits[inside], values[:, 1:][inside], reduction="sum"
            )
            return total / lengths.sum(), int(lengths.sum())
        logits, _ = model(values[:, :-1], None, lengths)
        found = functional.cross_entropy(
            logits.flatten(0, 1),
            values[:, 1:].flatten(),
            ignore_index=PAD,
            label_smoothing=smoothing,
        )
        return found, int(lengths.sum())

    return loss


def _sequence_validation(plan: Plan, corpus: Corpus) -> Callable[[Weights], Score]:
    from unrolled.train.loop import Score

    kind = (plan.data.generation or GenerationSpec()).kind
    corpus = limited(corpus, plan.training)

    def validate(weights: Weights) -> Score:
        model = GeneratorModel.from_artifact(plan.artifact(weights))
        if kind == "frames":
            found = frame_metrics(model, corpus)
            return Score({"nats": found["nats"]}, (found["nats"],))
        found = next_item_metrics(model, corpus)
        metrics = {name: found[name] for name in ("hr@10", "ndcg@10", "recall@20", "mrr@20")}
        nats = sequence_metrics(model, corpus)["nats"]
        return Score({**metrics, "nats": nats}, (-metrics["ndcg@10"], nats))

    return validate


def _corpus_hash(corpus: Corpus) -> str:
    if corpus.sequences and isinstance(corpus.sequences[0], np.ndarray):
        digest = hashlib.sha256()
        for each in corpus.sequences:
            digest.update(str(each.shape).encode() + each.tobytes())
        return digest.hexdigest()
    return hash_texts(*corpus.sequences)
