"""Translate: one sequence in, another out, through an encoder-decoder with attention.

The same shape as spelling to sound, date to date, question to answer. Training needs the `train`
extra; a fitted translator predicts without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from unrolled.artifact import Artifact
from unrolled.config import DataSpec, TrainSpec, VocabularySpec
from unrolled.data.batch import Batch, translation_batch
from unrolled.data.shards import FileShards, SourceOf, as_source, divided, each, first_of
from unrolled.data.vocab import Vocabulary, suggest_tokens
from unrolled.errors import DataError
from unrolled.options import TranslateOptions, recurrent_spec, resolve_tokens
from unrolled.runtime.model import TranslatorModel
from unrolled.spec import AttentionSpec, TranslatorSpec
from unrolled.tasks.base import (
    Estimator,
    Plan,
    Run,
    execute,
    hash_shards,
    hash_texts,
    hide_tokens,
)
from unrolled.tasks.evaluate import evaluate_translator
from unrolled.tasks.inputs import Values, check_lengths, read_texts, second
from unrolled.tasks.shelf import Cutter, Lengths, Shelf, check_shards, epoch_of, shelve

if TYPE_CHECKING:
    from unrolled.train.loop import Job, Score, Weights


@dataclass(frozen=True)
class Pairs:
    """Sequences and what each becomes; `name` and `rows` (else counted) say where each is from."""

    sources: Sequence[str]
    targets: Sequence[str]
    name: str = "the training data"
    rows: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.sources)

    def take(self, indices: Iterable[int]) -> Pairs:
        """Return the pairs at `indices`."""
        chosen = list(indices)
        rows = self.rows or range(1, len(self) + 1)
        return Pairs(
            [self.sources[i] for i in chosen],
            [self.targets[i] for i in chosen],
            self.name,
            [rows[i] for i in chosen],
        )

    @property
    def inputs(self) -> Sequence[str]:
        """What is read: the sources."""
        return self.sources

    @property
    def form(self) -> str:
        """What there is: pairs."""
        return "pairs"

    def joined(self, others: Sequence[Pairs], name: str) -> Pairs:
        """Return these and other pairs, of which `name` is all that says where they are from."""
        parts = (self, *others)
        sources = [text for part in parts for text in part.sources]
        return Pairs(sources, [text for part in parts for text in part.targets], name)

    def where(self, i: int) -> str:
        """Return where pair `i` is: `"pairs.tsv, row 7"`."""
        return f"{self.name}, row {self.rows[i] if self.rows else i + 1}"


@dataclass(frozen=True)
class EncodedPairs:
    """Pairs of a shard as ids."""

    sources: Sequence[Sequence[int]]
    targets: Sequence[Sequence[int]]

    @property
    def lengths(self) -> Lengths:
        """How long the sources and the targets are."""
        return list(map(len, self.sources)), list(map(len, self.targets))

    def batch(self, index: Any) -> Batch:
        """Return the pairs at `index` [N], padded."""
        return translation_batch(self.sources, self.targets, index)


def train(
    pairs: Pairs | FileShards[Pairs],
    options: TranslateOptions,
    training: TrainSpec,
    *,
    validation: Pairs | None = None,
    run: Run | None = None,
) -> Artifact:
    """Train an encoder-decoder on `pairs` and return the best model by validation PER.

    Without `validation`, `training.validation_fraction` of the distinct sources are held out, so
    that no source is on both sides. Raises DataError for data that cannot be trained on.
    """
    run = run or Run()
    if isinstance(pairs, Pairs) and len(pairs) < 2:
        raise DataError(f"{pairs.name}: {len(pairs)} pair(s); at least 2 are needed to train")
    hashed = content_hash(as_source(pairs))
    told = "" if validation is None else hash_texts(validation.sources, validation.targets)
    fraction, seed = training.validation_fraction, training.seed
    source, held = divided(pairs, validation, fraction, seed)
    plan = replace(make_plan(source, options, training, hashed), validation_hash=told)
    return execute(plan, run, lambda **hooks: make_job(plan, source, held, run, **hooks))


def content_hash(source: SourceOf[Pairs]) -> str:
    """Return the SHA-256 of all texts in order, shard by shard."""
    return hash_shards([hash_texts(part.sources, part.targets) for part in each(source)])


def make_plan(
    source: SourceOf[Pairs], options: TranslateOptions, training: TrainSpec, data_hash: str
) -> Plan:
    """Fix the vocabularies, the network and the reading of data from options and data.

    Raises ConfigError where BPE is asked for shards, since it reads all texts at once.
    """
    data = _data_spec(first_of(source), options)
    for spec in (data.source_vocabulary, data.target_vocabulary):
        check_shards(spec.tokens, source)
    reads = (text for part in each(source) for text in part.sources)
    writes = (text for part in each(source) for text in part.targets)
    read = Vocabulary.build(reads, data.source_vocabulary)
    written = Vocabulary.build(writes, data.target_vocabulary)
    return Plan(
        task="translate",
        network=network_spec(options, len(read), len(written)),
        data=data,
        training=training,
        vocabularies={"source": read, "target": written},
        data_hash=data_hash,
        token_dropout=options.token_dropout,
    )


def network_spec(
    options: TranslateOptions, source_vocab_size: int, target_vocab_size: int
) -> TranslatorSpec:
    """Return the network that `options` describe for vocabularies of these sizes."""
    size = options.hidden_size
    encoder = recurrent_spec(
        options, input_size=options.embedding_size, layers=options.encoder_layers
    )
    attention = None
    if options.attention != "none":
        scored = options.attention in ("additive", "concat")
        attention = AttentionSpec(
            kind=options.attention,
            query_size=size,
            key_size=encoder.output_size,
            size=(options.attention_size or size) if scored else 0,
        )
    reads = options.embedding_size
    if options.attention == "additive":
        reads += encoder.output_size
    elif options.input_feeding:
        reads += size
    decoder = recurrent_spec(options, input_size=reads, layers=options.decoder_layers, decoder=True)
    return TranslatorSpec(
        source_vocab_size=source_vocab_size,
        target_vocab_size=target_vocab_size,
        source_embedding_size=options.embedding_size,
        target_embedding_size=options.embedding_size,
        encoder=encoder,
        decoder=decoder,
        readout_size=size,
        attention=attention,
        input_feeding=options.input_feeding,
        share_parameters=options.share_parameters,
        dropout=options.dropout,
    )


def make_job(
    plan: Plan,
    source: SourceOf[Pairs],
    validation: Pairs,
    run: Run,
    *,
    keep: Callable[[Weights, dict[str, Any]], None],
    recall: Callable[[], Weights],
) -> Job:
    """Return what the training loop needs: the model, its batches, its loss, its validation."""
    from unrolled.nn.build import build
    from unrolled.train.loop import Job, seed_all

    spec, training = plan.network, plan.training
    assert isinstance(spec, TranslatorSpec)
    shelf = _shelf(plan, source, run)
    seed_all(training.seed)
    return Job(
        model=build(spec, engine=training.engine),
        batches=lambda epoch: epoch_of(shelf, training, epoch),
        loss=_loss(training.label_smoothing, plan.token_dropout),
        validate=_validation(plan, validation),
        keep=keep,
        recall=recall,
        signature=plan.signature(),
    )


def _shelf(plan: Plan, source: SourceOf[Pairs], run: Run) -> Shelf[Pairs]:
    read, written = plan.vocabularies["source"], plan.vocabularies["target"]
    assert isinstance(read, Vocabulary)
    assert isinstance(written, Vocabulary)

    def encode(pairs: Pairs, cut: Cutter) -> EncodedPairs:
        sources = [read.encode(text) for text in pairs.sources]
        targets = [written.encode(text) for text in pairs.targets]
        return EncodedPairs(
            cut(sources, "sources", pairs.where), cut(targets, "targets", pairs.where)
        )

    return shelve(source, encode, plan.data.max_length, run, "pairs")


def _loss(label_smoothing: float, token_dropout: float) -> Callable[..., Any]:
    import torch

    from unrolled.train.losses import cross_entropy

    def loss(model: Any, batch: Batch, share: float, generator: torch.Generator) -> Any:
        assert batch.target_in is not None
        assert batch.target_out is not None
        assert batch.target_lengths is not None
        device = next(model.parameters()).device
        source = hide_tokens(torch.from_numpy(batch.source), token_dropout, generator)
        logits, inside = model.packed_logits(
            source.to(device),
            torch.from_numpy(batch.source_lengths),
            torch.from_numpy(batch.target_in).to(device),
            torch.from_numpy(batch.target_lengths),
            teacher_forcing=share,
            generator=generator,
        )
        targets = torch.from_numpy(batch.target_out).to(device)[inside]
        return cross_entropy(logits, targets, label_smoothing=label_smoothing)

    return loss


def _validation(plan: Plan, pairs: Pairs) -> Callable[[Weights], Score]:
    """Score by greedy decoding through the runtime, the nearest of a source's targets counting."""
    from unrolled.train.loop import Score

    texts = list(dict.fromkeys(pairs.sources))
    limit = plan.training.validation_limit
    if 0 < limit < len(texts):
        order = np.random.default_rng(plan.training.seed).permutation(len(texts))
        kept = {texts[i] for i in order[:limit]}
        pairs = pairs.take(i for i, source in enumerate(pairs.sources) if source in kept)

    def validate(weights: Weights) -> Score:
        model = TranslatorModel.from_artifact(plan.artifact(weights))
        metrics = evaluate_translator(model, pairs.sources, pairs.targets, with_bleu=False)
        return Score({k: metrics[k] for k in ("per", "wer")}, (metrics["per"], metrics["wer"]))

    return validate


def _data_spec(pairs: Pairs, options: TranslateOptions) -> DataSpec:
    def vocabulary(choice: Any, texts: Sequence[str]) -> VocabularySpec:
        return VocabularySpec(
            tokens=resolve_tokens(choice, suggest_tokens(texts)),
            lowercase=options.lowercase,
            min_count=options.min_count,
            max_size=options.max_size,
        )

    return DataSpec(
        source=options.source,
        target=options.target,
        source_vocabulary=vocabulary(options.source_tokens, pairs.sources),
        target_vocabulary=vocabulary(options.target_tokens, pairs.targets),
        max_length=options.max_length,
    )


class Translator(Estimator):
    """Sequence to sequence estimator: `fit(sources, targets)`, `predict(sources)`.

    Both are sequences, arrays, series, or data frames: of a frame with several columns those named
    by the parameters `source` and `target` are read, and y may be left out. Parameters are those of
    `unrolled.options.TranslateOptions` and `unrolled.config.TrainSpec`; `attention=None` leaves
    only the fixed context vector. After `fit`: `model_` (the runtime model) and `artifact_`.
    """

    task = "translate"

    def fit(
        self,
        X: Values,
        y: Values | None = None,
        *,
        validation: tuple[Values, Values] | None = None,
        run: Run | None = None,
    ) -> Self:
        """Train on parallel texts. `validation` is used instead of a share held out.

        Raises DataError for a text that is empty or missing.
        """
        options, training = self._split_params()
        pairs = self._pairs(X, y, "the training data")
        held = None if validation is None else self._pairs(*validation, "the validation data")
        self.artifact_ = train(pairs, options, training, validation=held, run=run)
        self.model_ = TranslatorModel.from_artifact(self.artifact_)
        return self

    def predict(self, X: Values | str, *, beam: int | None = None) -> list[str]:
        """Return the best answer for each source."""
        self._fitted()
        width = self._params["beam"] if beam is None else beam
        sources = [X] if isinstance(X, str) else X
        found = read_texts(sources, self._params["source"], name="the sources")
        return list(self.model_.predict(found, beam=width))

    def score(self, X: Values, y: Values | None = None) -> float:
        """Return the share of answers that are exactly right (1 - WER)."""
        self._fitted()
        pairs = self._pairs(X, y, "the data")
        metrics = evaluate_translator(
            self.model_, pairs.sources, pairs.targets, beam=self._params["beam"], with_bleu=False
        )
        return 1.0 - float(metrics["wer"])

    def _pairs(self, X: Values, y: Values | None, name: str) -> Pairs:
        sources, column = read_texts(X, self._params["source"], name=name), self._params["target"]
        targets = read_texts(second(X, y, column, name=name), column, name=name)
        check_lengths(name, sources=sources, targets=targets)
        return Pairs(sources, targets, name)
