"""What an answer is worth: error rates of sequences, accuracy and F1 of classes. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ConfigError


def group_references(
    sources: Sequence[str], targets: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Gather all targets of equal sources: (distinct sources in first order, their targets)."""
    grouped: dict[str, list[str]] = {}
    for source, target in zip(sources, targets, strict=True):
        grouped.setdefault(source, []).append(target)
    return list(grouped), list(grouped.values())


def sequence_error_rates(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> dict[str, float]:
    """Error rates of whole sequences against the nearest of one or more references each.

    `per` = sum of Levenshtein distances to the nearest reference / sum of its lengths (the phoneme
    error rate, where the tokens are phonemes); `wer` = share of predictions that equal none of
    their references. Both are fractions; `per` may exceed 1.
    """
    distance = _levenshtein()
    errors = length = wrong = 0
    for prediction, options in zip(predictions, references, strict=True):
        nearest, size = min((distance(prediction, option), len(option)) for option in options)
        errors += nearest
        length += size
        wrong += nearest > 0
    return {"per": errors / max(length, 1), "wer": wrong / max(len(predictions), 1)}


def bleu(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Corpus BLEU (Papineni et al. 2002) by sacrebleu on detokenised text, 0 to 100.

    The signature tells tokenisation and version, without which BLEU means little (Post 2018).
    """
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise ConfigError("BLEU needs the package: pip install 'unrolled[text]'") from None
    most = max(len(options) for options in references)
    streams: list[Any] = [
        [options[k] if k < len(options) else None for options in references] for k in range(most)
    ]
    metric = BLEU()
    score = metric.corpus_score(list(predictions), streams)
    return {"bleu": float(score.score), "bleu_signature": str(metric.get_signature())}


def class_metrics(
    probabilities: NDArray[Any], labels: NDArray[np.int64], names: Sequence[str]
) -> dict[str, Any]:
    """Accuracy, macro F1, log loss in nats and the confusion matrix (rows: true, columns: said).

    F1 of a class = 2 TP / (2 TP + FP + FN); macro F1 is the mean over the classes that occur in
    `labels` or are predicted. `probabilities` [N, C], `labels` [N].
    """
    said = probabilities.argmax(axis=1)
    confusion = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(confusion, (labels, said), 1)
    hits = confusion.diagonal()
    occurring = confusion.sum(axis=0) + confusion.sum(axis=1)
    seen = occurring > 0
    chosen = probabilities[np.arange(len(labels)), labels]
    return {
        "accuracy": float(hits.sum() / max(len(labels), 1)),
        "macro_f1": float((2 * hits[seen] / occurring[seen]).mean()),
        "log_loss": float(-np.log(np.maximum(chosen, 1e-12)).mean()),
        "confusion": confusion.tolist(),
        "classes": list(names),
        "count": len(labels),
    }


def _levenshtein() -> Any:
    try:
        from rapidfuzz.distance import Levenshtein
    except ImportError:
        raise ConfigError(
            "error rates need the package rapidfuzz: pip install 'unrolled[text]'"
        ) from None
    return Levenshtein.distance
