"""Measure a model folder's model on labelled data, without the training framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from unrolled.data.read import labels, read_pairs, read_table, texts
from unrolled.data.vocab import LabelVocabulary, normalise
from unrolled.runtime.model import ClassifierModel, Model, TranslatorModel
from unrolled.spec import VocabularySpec
from unrolled.train.metrics import bleu, class_metrics, group_references, sequence_error_rates


class Labelled(NamedTuple):
    """Inputs and wanted answers of a file, and the place of each."""

    sources: list[str]
    targets: list[str]
    where: list[str]


def read_examples(
    model: Model,
    data: str,
    *,
    format: str | None = None,
    source: str | None = None,
    target: str | None = None,
) -> Labelled:
    """Read labelled data as the model was trained to; `data` may be `-` for standard input."""
    names = (source or model.config.data.source, target or model.config.data.target)
    if isinstance(model, ClassifierModel):
        table = read_table(data, columns=names, format=format)
        wanted = labels(table, names[1])
    else:
        table = read_pairs(data, *names, format=format)
        wanted = texts(table, names[1])
    where = [table.where(i, names[1]) for i in range(len(table))]
    return Labelled(texts(table, names[0]), wanted, where)


def evaluate_table(model: Model, table: Labelled, *, beam: int = 1) -> dict[str, Any]:
    """Return the metrics of a model's task on labelled data."""
    if isinstance(model, ClassifierModel):
        return evaluate_classifier(model, table.sources, table.targets, table.where)
    return evaluate_translator(model, table.sources, table.targets, beam=beam)


def answers(model: Model, sources: Sequence[str], *, beam: int = 1) -> list[str]:
    """Return the model's one answer to each text."""
    if isinstance(model, ClassifierModel):
        return model.classify(list(sources)).labels
    return [best[0].text for best in model.translate(list(sources), beam=beam).answers]


def evaluate_classifier(
    model: ClassifierModel, texts: Sequence[str], labels: Sequence[str], where: Sequence[str]
) -> dict[str, Any]:
    """Return accuracy, macro F1, log loss and confusion matrix.

    `where` names the place of each example; a label the model does not know is a DataError there.
    """
    names: LabelVocabulary = model.labels
    ids = [names.index(label, where=place) for label, place in zip(labels, where, strict=True)]
    found = model.classify(list(texts))
    metrics = class_metrics(found.probabilities, np.array(ids, dtype=np.int64), names.labels)
    return {**metrics, "truncated": len(found.truncated)}


def evaluate_translator(
    model: TranslatorModel,
    sources: Sequence[str],
    targets: Sequence[str],
    *,
    beam: int = 1,
    with_bleu: bool = True,
) -> dict[str, Any]:
    """Return PER, WER and, for words and BPE, BLEU; of several targets the nearest counts."""
    texts, references = group_references(sources, targets)
    found = model.translate(texts, beam=beam)
    answers = [best[0].text for best in found.answers]
    spec = model.target_vocabulary.spec
    metrics: dict[str, Any] = sequence_error_rates(
        [units(answer, spec) for answer in answers],
        [[units(text, spec) for text in options] for options in references],
    )
    if with_bleu and spec.tokens != "char":
        metrics |= bleu(answers, references)
    return {**metrics, "count": len(texts), "beam": beam, "truncated": len(found.truncated)}


def units(text: str, spec: VocabularySpec) -> list[str]:
    """Return what an error rate counts in `text`: characters for `char`, else words."""
    seen = normalise(text, lowercase=spec.lowercase)
    return list(seen) if spec.tokens == "char" else seen.split()
