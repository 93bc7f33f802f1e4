"""Measure a model folder's model on labelled data, without the training framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unrolled.data.vocab import LabelVocabulary, normalise
from unrolled.runtime.model import ClassifierModel, TranslatorModel
from unrolled.spec import VocabularySpec
from unrolled.train.metrics import bleu, class_metrics, group_references, sequence_error_rates


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
