"""Classify: a whole sequence to one of several labels, or to some of them (many to one).

Training needs the `train` extra; a fitted classifier predicts without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unrolled.artifact import Artifact
from unrolled.config import DataSpec, LabelsSpec, TrainSpec
from unrolled.data.examples import Examples
from unrolled.data.shards import FileShards, Shards, Source, each
from unrolled.data.vocab import LabelVocabulary
from unrolled.errors import ConfigError, DataError, did_you_mean
from unrolled.options import ClassifyOptions
from unrolled.runtime.model import ClassifierModel
from unrolled.spec import ClassifierSpec
from unrolled.tasks.base import Plan, Run, execute
from unrolled.tasks.evaluate import evaluate_classifier
from unrolled.tasks.pooled import (
    Reading,
    content_hash,
    make_job,
    read_as,
    replace_struct,
    scaling_of,
    sources,
    trunk,
    with_validation,
)
from unrolled.tasks.shelf import limited
from unrolled.tasks.words import hashes, start_from
from unrolled.train.metrics import best_thresholds, label_metrics

if TYPE_CHECKING:
    from unrolled.train.loop import Score, Weights

__all__ = ["Examples", "train"]

# A confusion matrix of more classes is not kept with the model: it grows with their square.
MOST_CONFUSED = 200


@dataclass(frozen=True)
class Labels:
    """The labels of the training data: their vocabulary, and how many examples have each."""

    names: LabelVocabulary
    counts: Counter[str]
    examples: int
    several: bool

    def encode(self, examples: Examples) -> NDArray[Any]:
        """Return classes [N], or with several labels 0 and 1 [N, C] as float32."""
        if not self.several:
            return self.names.encode(examples.targets, examples.where)
        return hot(self.names, examples)


def hot(names: LabelVocabulary, examples: Examples) -> NDArray[np.float32]:
    """Return 1 for each label that an example has, else 0, [N, C]; DataError for an unknown one."""
    found = np.zeros((len(examples), len(names)), dtype=np.float32)
    for i, given in enumerate(examples.targets):
        for label in given:
            found[i, names.index(label, where=examples.where(i))] = 1
    return found


def train(
    examples: Examples | Shards,
    options: ClassifyOptions,
    training: TrainSpec,
    *,
    validation: Examples | None = None,
    data: DataSpec | None = None,
    run: Run | None = None,
) -> Artifact:
    """Train a classifier and return the best model by validation accuracy, then log loss.

    With several labels an example, by micro F1 at the best thresholds, then log loss. Without
    `validation`, `training.validation_fraction` of the distinct inputs are held out. `data` says
    how the files were read. Raises DataError for data that cannot be trained on: one class only, or
    a validation label never seen; ConfigError for options that contradict each other.
    """
    run = run or Run()
    if options.multi_label and training.label_smoothing > 0:
        raise ConfigError("label_smoothing spreads over classes; with multi_label there are none")
    if not isinstance(examples, FileShards):
        check_classes(Counter(_flat(examples, options.multi_label)), examples.name, options)
    given = validation
    source, validation = sources(examples, validation, training)
    labels = read_labels(source, validation if given is None else None, options)
    if given is not None:
        labels.encode(given)
    data = data or DataSpec(source=options.text, target=options.label)
    reading = read_as(source, data, options, run)
    weights = class_weights(options.class_weights, labels)
    how = LabelsSpec(
        several=options.multi_label, separator=options.label_separator, class_weights=weights
    )
    reading = replace(reading, data=replace_struct(reading.data, labels=how))
    plan = make_plan(source, labels, reading, options, training)
    plan = with_validation(plan, given, source.name)
    moments = None if reading.vocabulary is not None else scaling_of(source, plan.data, run)

    def job(**hooks: Any) -> Any:
        return make_job(
            plan,
            source,
            labels.encode,
            run,
            criterion=_criterion(plan, training.label_smoothing),
            prepare=lambda model: start_from(model, moments, reading.vocabulary, reading.vectors),
            validate=_validation(plan, limited(validation, training)),
            **hooks,
        )

    return execute(plan, run, job, lambda found: _details(found, validation))


def _flat(examples: Examples, several: bool) -> list[str]:
    if several:
        return [label for given in examples.targets for label in given]
    return list(examples.targets)


def check_classes(counts: Counter[str], name: str, options: ClassifyOptions) -> None:
    """Raise DataError where there are fewer labels than can be learned."""
    known = sorted(counts)
    if len(known) < (1 if options.multi_label else 2):
        only = f"only {known[0]!r}" if known else "none"
        least = "at least one label" if options.multi_label else "at least two different labels"
        raise DataError(f"{name}: needs {least}, found {only}")


def read_labels(source: Source, held: Examples | None, options: ClassifyOptions) -> Labels:
    """Count the labels of all shards; those that were held out of them count as known, too."""
    several = options.multi_label
    counts: Counter[str] = Counter()
    total = 0
    for examples in each(source):
        counts.update(_flat(examples, several))
        total += len(examples)
    known = set(counts) | set(_flat(held, several) if held is not None else ())
    check_classes(Counter(known), source.name, options)
    names = LabelVocabulary.build(known) if len(known) > 1 else LabelVocabulary(tuple(known))
    return Labels(names, counts, total, several)


def class_weights(choice: str, labels: Labels) -> tuple[float, ...]:
    """Return a weight a class, none for `none`.

    `balanced` is n / (C n_c), with several labels (n - n_c) / n_c, for n_c of n examples;
    `label=weight,...` gives its own, 1 where it gives none.
    """
    names, counts = labels.names.labels, labels.counts
    if choice == "none":
        return ()
    if choice == "balanced":
        n, size = labels.examples, len(names)
        if labels.several:
            return tuple(max(n - counts[c], 1) / max(counts[c], 1) for c in names)
        return tuple(n / (size * max(counts[c], 1)) for c in names)
    found = dict.fromkeys(names, 1.0)
    for part in choice.split(","):
        name, equals, text = part.strip().rpartition("=")
        if not equals:
            raise ConfigError(
                f"class_weights = {choice!r}: expected none, balanced, or label=weight with commas "
                "between"
            )
        if name not in found:
            raise ConfigError(
                f"class_weights: no label {name!r}; the labels are: {', '.join(names[:20])}."
                f"{did_you_mean(name, names)}"
            )
        found[name] = _weight(name, text)
    return tuple(found.values())


def _weight(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < np.inf:
        raise ConfigError(f"class_weights: {name}={text}: expected a number above 0")
    return value


def make_plan(
    source: Source,
    labels: Labels,
    reading: Reading,
    options: ClassifyOptions,
    training: TrainSpec,
) -> Plan:
    """Fix the network from options and data."""
    network = ClassifierSpec(
        **trunk(options, reading),
        num_classes=len(labels.names),
        multi_label=options.multi_label,
    )
    return Plan(
        task="classify",
        network=network,
        data=reading.data,
        training=training,
        vocabularies={**reading.vocabularies, "target": labels.names},
        data_hash=":".join((*hashes(options.vectors), content_hash(source))),
        token_dropout=options.token_dropout if reading.vocabulary is not None else 0.0,
    )


def _criterion(plan: Plan, label_smoothing: float) -> Callable[[Any, Any], tuple[Any, float]]:
    import torch

    from unrolled.train.losses import binary_cross_entropy, cross_entropy

    spec, given = plan.network, plan.data.labels.class_weights
    weights = torch.tensor(given) if given else None

    def criterion(logits: Any, labels: Any) -> Any:
        weigh = None if weights is None else weights.to(logits)
        if isinstance(spec, ClassifierSpec) and spec.multi_label:
            return binary_cross_entropy(logits, labels, weights=weigh)
        return cross_entropy(logits, labels, label_smoothing=label_smoothing, weights=weigh)

    return criterion


def _validation(plan: Plan, examples: Examples) -> Callable[[Weights], Score]:
    """Score through the runtime: by accuracy, and by log loss where that is equal."""
    from unrolled.train.loop import Score

    names = plan.vocabularies["target"]
    assert isinstance(names, LabelVocabulary)

    def several(model: ClassifierModel) -> Score:
        true = hot(names, examples)
        shares = model.classify(examples.inputs).probabilities
        thresholds = best_thresholds(shares, true)
        found = label_metrics(shares, true, thresholds, names.labels)
        metrics = {k: found[k] for k in ("micro_f1", "macro_f1", "exact_accuracy", "log_loss")}
        rank = (-metrics["micro_f1"], metrics["log_loss"])
        return Score(metrics, rank, {"thresholds": thresholds})

    def validate(weights: Weights) -> Score:
        model = ClassifierModel.from_artifact(plan.artifact(weights))
        if model.multi_label:
            return several(model)
        found = evaluate_classifier(model, examples)
        metrics = {k: found[k] for k in ("accuracy", "macro_f1", "log_loss")}
        return Score(metrics, (-metrics["accuracy"], metrics["log_loss"]))

    return validate


def _details(found: Artifact, validation: Examples) -> dict[str, Any]:
    """Return what the best model does class by class on the validation data."""
    model = ClassifierModel.from_artifact(found)
    metrics = evaluate_classifier(model, validation)
    kept = ["per_class"]
    if len(model.classes) <= MOST_CONFUSED:
        kept += ["confusion", "classes"]
    return {name: metrics[name] for name in kept if name in metrics}
