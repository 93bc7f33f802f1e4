"""Classify: a whole sequence to one of several labels (many to one).

Training needs the `train` extra; a fitted classifier predicts without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from unrolled.artifact import Artifact
from unrolled.data.batch import Batch, buckets, classification_batch
from unrolled.data.split import split as split_keys
from unrolled.data.vocab import LabelVocabulary, Vocabulary, suggest_tokens
from unrolled.errors import DataError
from unrolled.options import ClassifyOptions, recurrent_spec, resolve_tokens
from unrolled.runtime.model import ClassifierModel
from unrolled.spec import (
    AttentionSpec,
    ClassifierSpec,
    DataSpec,
    TrainSpec,
    VocabularySpec,
)
from unrolled.tasks.base import Estimator, Plan, Run, execute, hash_texts
from unrolled.tasks.evaluate import evaluate_classifier

if TYPE_CHECKING:
    from unrolled.train.loop import Job, Score, Weights


@dataclass(frozen=True)
class Examples:
    """Texts with their labels; `name` says in messages where they came from."""

    texts: Sequence[str]
    labels: Sequence[str]
    name: str = "the training data"

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Iterable[int]) -> Examples:
        """Return the examples at `indices`."""
        chosen = list(indices)
        return Examples(
            [self.texts[i] for i in chosen], [self.labels[i] for i in chosen], self.name
        )


def train(
    examples: Examples,
    options: ClassifyOptions,
    training: TrainSpec,
    *,
    validation: Examples | None = None,
    run: Run | None = None,
) -> Artifact:
    """Train a classifier and return the best model by validation accuracy, then log loss.

    Without `validation`, `training.validation_fraction` of the distinct texts are held out. Raises
    DataError for data that cannot be trained on: one class only, or a validation label never seen.
    """
    run = run or Run()
    known = sorted(set(examples.labels))
    if len(known) < 2:
        only = f"only {known[0]!r}" if known else "none"
        raise DataError(f"{examples.name}: needs at least two different labels, found {only}")
    data_hash = hash_texts(examples.texts, examples.labels)
    labels = LabelVocabulary.build(examples.labels)
    if validation is None:
        keep, held = split_keys(examples.texts, training.validation_fraction, training.seed)
        examples, validation = examples.take(keep), examples.take(held)
    plan = make_plan(examples, labels, options, training, data_hash)
    return execute(plan, run, lambda **hooks: make_job(plan, examples, validation, **hooks))


def make_plan(
    examples: Examples,
    labels: LabelVocabulary,
    options: ClassifyOptions,
    training: TrainSpec,
    data_hash: str,
) -> Plan:
    """Fix the vocabulary, the network and the reading of data from options and data."""
    data = DataSpec(
        source=options.text,
        target=options.label,
        source_vocabulary=VocabularySpec(
            tokens=resolve_tokens(options.tokens, suggest_tokens(examples.texts)),
            lowercase=options.lowercase,
            min_count=options.min_count,
            max_size=options.max_size,
        ),
        max_length=options.max_length,
    )
    vocabulary = Vocabulary.build(examples.texts, data.source_vocabulary)
    return Plan(
        task="classify",
        network=network_spec(options, len(vocabulary), len(labels)),
        data=data,
        training=training,
        vocabularies={"source": vocabulary, "target": labels},
        data_hash=data_hash,
    )


def network_spec(options: ClassifyOptions, vocab_size: int, num_classes: int) -> ClassifierSpec:
    """Return the network that `options` describe."""
    recurrent = recurrent_spec(options, input_size=options.embedding_size, layers=options.layers)
    attention = None
    if options.pooling == "attention":
        width = recurrent.output_size
        scored = options.attention in ("additive", "concat")
        attention = AttentionSpec(
            kind=options.attention,
            query_size=width,
            key_size=width,
            size=(options.attention_size or options.hidden_size) if scored else 0,
        )
    return ClassifierSpec(
        vocab_size=vocab_size,
        embedding_size=options.embedding_size,
        recurrent=recurrent,
        num_classes=num_classes,
        pooling=options.pooling,
        attention=attention,
        dropout=options.dropout,
    )


def make_job(
    plan: Plan,
    examples: Examples,
    validation: Examples,
    *,
    keep: Callable[[Weights, dict[str, Any]], None],
    recall: Callable[[], Weights],
) -> Job:
    """Return what the training loop needs: the model, its batches, its loss, its validation."""
    from unrolled.nn.build import build
    from unrolled.train.loop import Job, epoch_generator, seed_all

    spec, training = plan.network, plan.training
    assert isinstance(spec, ClassifierSpec)
    tokens, labels = _encode(plan, examples)
    lengths = [len(ids) for ids in tokens]

    def batches(epoch: int) -> list[Batch]:
        order = buckets(
            lengths,
            batch_size=training.batch_size,
            batch_tokens=training.batch_tokens,
            generator=epoch_generator(training.seed, epoch),
        )
        return [classification_batch(tokens, labels, chosen) for chosen in order]

    seed_all(training.seed)
    return Job(
        model=build(spec, engine=training.engine),
        batches=batches,
        loss=_loss(training.label_smoothing),
        validate=_validation(plan, validation),
        keep=keep,
        recall=recall,
        signature=plan.signature(),
    )


def _loss(label_smoothing: float) -> Callable[..., Any]:
    import torch

    from unrolled.train.losses import cross_entropy

    def loss(model: Any, batch: Batch, share: float, generator: torch.Generator) -> Any:
        assert batch.labels is not None
        device = next(model.parameters()).device
        logits = model(
            torch.from_numpy(batch.source).to(device), torch.from_numpy(batch.source_lengths)
        )
        labels = torch.from_numpy(batch.labels).to(device)
        return cross_entropy(logits, labels, label_smoothing=label_smoothing)

    return loss


def _validation(plan: Plan, examples: Examples) -> Callable[[Weights], Score]:
    """Score through the runtime: by accuracy, and by log loss where that is equal."""
    from unrolled.train.loop import Score

    limit = plan.training.validation_limit
    if 0 < limit < len(examples):
        order = np.random.default_rng(plan.training.seed).permutation(len(examples))[:limit]
        examples = examples.take(order)
    where = [f"{examples.name}, example {row}" for row in range(1, len(examples) + 1)]

    def validate(weights: Weights) -> Score:
        model = ClassifierModel.from_artifact(plan.artifact(weights))
        found = evaluate_classifier(model, examples.texts, examples.labels, where)
        metrics = {k: found[k] for k in ("accuracy", "macro_f1", "log_loss")}
        return Score(metrics, (-metrics["accuracy"], metrics["log_loss"]))

    return validate


def _encode(plan: Plan, examples: Examples) -> tuple[list[list[int]], NDArray[np.int64]]:
    vocabulary, names = plan.vocabularies["source"], plan.vocabularies["target"]
    assert isinstance(vocabulary, Vocabulary)
    assert isinstance(names, LabelVocabulary)
    tokens = [vocabulary.encode(text)[: plan.data.max_length] for text in examples.texts]
    ids = [
        names.index(label, where=f"{examples.name}, example {row}")
        for row, label in enumerate(examples.labels, start=1)
    ]
    return tokens, np.array(ids, dtype=np.int64)


class Classifier(Estimator):
    """Text classifier estimator: `fit(texts, labels)`, `predict(texts)`, `predict_proba(texts)`.

    Parameters are those of `unrolled.options.ClassifyOptions` and `unrolled.spec.TrainSpec`. After
    `fit`: `classes_`, `model_` (the runtime model), `artifact_`.
    """

    task = "classify"
    _estimator_type = "classifier"

    def fit(
        self,
        X: Iterable[str],
        y: Iterable[Any],
        *,
        validation: tuple[Iterable[str], Iterable[Any]] | None = None,
        run: Run | None = None,
    ) -> Self:
        """Train on texts and labels. `validation` is used instead of a share held out."""
        options, training = self._split_params()
        held = None if validation is None else _examples(*validation, name="the validation data")
        labels = list(y)
        self.artifact_ = train(_examples(X, labels), options, training, validation=held, run=run)
        self.model_ = ClassifierModel.from_artifact(self.artifact_)
        originals = {str(label): label for label in labels}
        self.classes_ = np.array([originals[name] for name in self.model_.classes])
        return self

    def predict(self, X: Iterable[str]) -> NDArray[Any]:
        """Return the most probable label of each text, of the kind that `fit` was given."""
        chosen: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return chosen

    def predict_proba(self, X: Iterable[str]) -> NDArray[Any]:
        """Return probabilities [N, C], the columns in the order of `classes_`."""
        self._fitted()
        return self.model_.predict_proba([str(text) for text in X])

    def score(self, X: Iterable[str], y: Iterable[Any]) -> float:
        """Return the accuracy."""
        return float((self.predict(X) == np.array(list(y))).mean())


def _examples(X: Iterable[str], y: Iterable[Any], name: str = "the training data") -> Examples:
    texts, labels = [str(text) for text in X], [str(label) for label in y]
    if len(texts) != len(labels):
        raise DataError(f"{name}: {len(texts)} texts but {len(labels)} labels")
    for row, text in enumerate(texts, start=1):
        if not text.strip():
            raise DataError(f"{name}: the text at position {row} is empty")
    return Examples(texts, labels, name)
