"""What an answer is worth: error rates of sequences, F1 of classes, errors of numbers. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    """Corpus BLEU (Papineni et al. 2002) by sacrebleu, which splits punctuation itself, 0 to 100.

    The signature tells tokenisation and version, without which BLEU means little (Post 2018).
    Empty where no reference has four words: BLEU counts runs of four, and would be 0 also for
    answers that are all right.
    """
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise ConfigError("BLEU needs the package: pip install 'unrolled[text]'") from None
    if not has_bleu(text for options in references for text in options):
        return {}
    most = max(len(options) for options in references)
    streams: list[Any] = [
        [options[k] if k < len(options) else None for options in references] for k in range(most)
    ]
    # Without force sacrebleu warns of texts that were split before: how they lie is the caller's.
    metric = BLEU(force=True)
    score = metric.corpus_score(list(predictions), streams)
    return {"bleu": float(score.score), "bleu_signature": str(metric.get_signature())}


def has_bleu(references: Iterable[str]) -> bool:
    """Tell whether a reference is as long as the runs of four words that BLEU counts."""
    return any(len(text.split()) >= 4 for text in references)


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
        "per_class": _by_class(confusion, names),
        "count": len(labels),
    }


def _by_class(confusion: NDArray[np.int64], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    hits, true, said = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    return {name: _rates(int(hits[k]), int(said[k]), int(true[k])) for k, name in enumerate(names)}


def _rates(hits: int, said: int, true: int) -> dict[str, Any]:
    """F1, precision and recall of one class that was named `said` times and is true `true` times.

    A precision of nothing said, or a recall of nothing there, is 0.
    """
    return {
        "f1": 2 * hits / max(said + true, 1),
        "precision": hits / max(said, 1),
        "recall": hits / max(true, 1),
        "count": true,
    }


def label_metrics(
    probabilities: NDArray[Any],
    labels: NDArray[Any],
    thresholds: NDArray[Any],
    names: Sequence[str],
) -> dict[str, Any]:
    """Micro and macro F1, the share of rows all right, log loss, and a report a label.

    Micro F1 counts hits and errors of all labels together, macro F1 is the mean over the labels
    that are true or said somewhere. `probabilities` and `labels` (0 or 1) are [N, C]; a label is
    said from its threshold on, [C]. Log loss is the mean over rows and labels, in nats.
    """
    true, said = labels > 0, probabilities >= thresholds
    hits, wanted, given = (each.sum(axis=0) for each in (true & said, true, said))
    whole = _rates(int(hits.sum()), int(given.sum()), int(wanted.sum()))
    report = {
        name: {
            **_rates(int(hits[k]), int(given[k]), int(wanted[k])),
            "threshold": float(thresholds[k]),
        }
        for k, name in enumerate(names)
    }
    seen = [report[name]["f1"] for k, name in enumerate(names) if wanted[k] or given[k]]
    chosen = np.maximum(np.where(true, probabilities, 1 - probabilities), 1e-12)
    return {
        "micro_f1": whole["f1"],
        "macro_f1": float(np.mean(seen)) if seen else 0.0,
        "micro_precision": whole["precision"],
        "micro_recall": whole["recall"],
        "exact_accuracy": float((true == said).all(axis=1).mean()),
        "log_loss": float(-np.log(chosen).mean()),
        "per_class": report,
        "count": len(labels),
    }


def best_thresholds(probabilities: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float32]:
    """Return from which probability on each label is said for its highest F1, [C].

    The thresholds tried lie halfway between neighbouring probabilities; 0.5 where no row has the
    label. Of equals the one nearest to 0.5 is taken. `probabilities` and `labels` are [N, C].
    """
    found = np.full(probabilities.shape[1], 0.5, dtype=np.float32)
    for k in range(probabilities.shape[1]):
        true = labels[:, k] > 0
        if not true.any():
            continue
        order = np.argsort(-probabilities[:, k], kind="stable")
        p, hits = probabilities[order, k], np.cumsum(true[order])
        said = np.arange(1, len(p) + 1)
        f1 = 2 * hits / (said + true.sum())
        after = np.append(p[1:], 0.0)
        f1[p == after] = -1
        middle = (p + after) / 2
        best = np.flatnonzero(f1 >= f1.max() - 1e-12)
        found[k] = middle[best[np.argmin(np.abs(middle[best] - 0.5))]]
    return found


def regression_metrics(
    predicted: NDArray[Any], true: NDArray[Any], names: Sequence[str]
) -> dict[str, Any]:
    """MAE, RMSE, R2 and Spearman's rank correlation, [N, K] against [N, K].

    R2 = 1 - sum (y - p)^2 / sum (y - mean y)^2. Of several targets each is the mean over them, and
    `per_target` has them one by one. R2 and the correlation of a constant are 0.
    """
    report = {}
    for k, name in enumerate(names):
        p, y = predicted[:, k].astype(np.float64), true[:, k].astype(np.float64)
        error, spread = p - y, float(((y - y.mean()) ** 2).sum())
        report[name] = {
            "mae": float(np.abs(error).mean()),
            "rmse": float(np.sqrt((error**2).mean())),
            "r2": 1 - float((error**2).sum()) / spread if spread > 0 else 0.0,
            "spearman": _correlation(_ranks(p), _ranks(y)),
        }
    means = {
        key: float(np.mean([each[key] for each in report.values()]))
        for key in ("mae", "rmse", "r2", "spearman")
    }
    return {**means, "per_target": report, "count": len(true)}


def _ranks(values: NDArray[Any]) -> NDArray[Any]:
    """Return ranks from 1; equal values share the mean of theirs."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    shared: NDArray[Any] = (last - (counts - 1) / 2)[where.reshape(-1)]
    return shared


def _correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / size) if size > 0 else 0.0


def _levenshtein() -> Any:
    try:
        from rapidfuzz.distance import Levenshtein
    except ImportError:
        raise ConfigError(
            "error rates need the package rapidfuzz: pip install 'unrolled[text]'"
        ) from None
    return Levenshtein.distance
