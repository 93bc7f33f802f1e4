"""Learning curves: from the training log, one record an epoch, to lines, charts and a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unrolled.explain import page, svg
from unrolled.explain.svg import Series

Log = Sequence[Mapping[str, Any]]

RATES = {
    "per": "PER",
    "wer": "WER",
    "accuracy": "accuracy",
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "exact_accuracy": "all right",
    "span_f1": "span F1",
    "intent_accuracy": "intent",
    "sentence_accuracy": "sentences",
}
LOSSES = {"train_loss": "training", "log_loss": "validation", "nats": "validation"}
RANKS = {"hr@10": "HR@10", "recall@20": "recall@20", "ndcg@10": "NDCG@10", "mrr@20": "MRR@20"}
SCORES = {"bleu": "BLEU"}
MISSED = {"rmse": "RMSE", "mae": "MAE"}
ERRORS = {"mase": "MASE"}
PERCENT = {**RATES, **RANKS}
FALLING = "The lower, the likelier the model finds what it should say."
OVERFITTING = (
    " Training that goes on falling while validation rises is overfitting; validation may lie"
    " below, since nothing is dropped there."
)
TABLED = (
    "train_loss",
    "log_loss",
    "nats",
    "bits",
    "perplexity",
    *RATES,
    *RANKS,
    "bleu",
    "mae",
    "rmse",
    "r2",
    "spearman",
    "mase",
    "crps",
    "lr",
    "gradient_norm",
    "seconds",
)


@dataclass(frozen=True)
class Chart:
    """Lines that share a unit, the title of their y axis, and how to read them in a sentence."""

    title: str
    y_title: str
    reading: str
    series: tuple[Series, ...]
    unit: str = ""


def charts(log: Log) -> list[Chart]:
    """Return charts of losses [nats], rates and ranks [%], BLEU and errors, as far as the log goes.

    Values that are missing or not finite leave a gap.
    """
    # Of numbers the loss is an error, and no probability.
    told = any(name in record for record in log for name in ("mae", "mase", "rmse"))
    losses = _series(log, LOSSES, 1.0)
    found = [
        Chart(
            "Loss by epoch",
            "loss" if told else "loss [nats per target]",
            FALLING + (OVERFITTING if len(losses) > 1 else ""),
            losses,
        ),
        Chart(
            "Rates on validation data by epoch",
            "rate [%]",
            "Error rates (PER, WER) should fall, accuracy and macro F1 should rise; where the lines"
            " are flat, more of the same training would not help.",
            _series(log, RATES, 100.0),
            "\u00a0%",
        ),
        Chart(
            "Ranking of the next item on validation data by epoch",
            "score [%]",
            "HR and recall are the share of sequences whose last item is among the first 10 or 20,"
            " NDCG and MRR count it the more the higher it stands; all should rise.",
            _series(log, RANKS, 100.0),
            "\u00a0%",
        ),
        Chart(
            "BLEU on validation data by epoch",
            "BLEU [0 to 100]",
            "The higher, the more words and phrases agree with the references.",
            _series(log, SCORES, 1.0),
        ),
        Chart(
            "Scaled error on validation data by epoch",
            "MASE",
            "The mean error over that of the value a season ago, one step after the other in the"
            " past; the lower the better, and how far it can fall depends on the horizon.",
            _series(log, ERRORS, 1.0),
        ),
        Chart(
            "Error on validation data by epoch",
            "error [units of the target]",
            "The lower the better; RMSE counts large errors more than MAE does.",
            _series(log, MISSED, 1.0),
        ),
    ]
    return [chart for chart in found if chart.series]


def _series(log: Log, names: Mapping[str, str], scale: float) -> tuple[Series, ...]:
    lines = []
    for key, name in names.items():
        points = [
            (float(epoch), scale * record[key])
            for epoch, record in _numbered(log)
            if finite(record.get(key))
        ]
        if points:
            lines.append(Series(name, tuple(points)))
    return tuple(lines)


def _numbered(log: Log) -> list[tuple[int, Mapping[str, Any]]]:
    return [(int(record.get("epoch", k)), record) for k, record in enumerate(log, start=1)]


def best_epoch(log: Log) -> int | None:
    """Return the last epoch whose record says `best`, None where none does."""
    marked = [epoch for epoch, record in _numbered(log) if record.get("best")]
    return marked[-1] if marked else None


def finite(value: object) -> bool:
    """Whether a value of a record is a number to draw."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def learning_curves(log: Log) -> str:
    """Return the charts of a log as HTML, a sentence on each line, and all numbers in a table."""
    best = best_epoch(log)
    figures = []
    for chart in charts(log):
        said = " ".join(_sentence(line, chart.unit) for line in chart.series)
        picture = svg.line_chart(
            chart.series, x_title="epoch", y_title=chart.y_title, description=said, marked=best
        )
        figures.append(page.figure(chart.title, picture, f"{chart.reading} {said}"))
    body = f'<div class="grid-of">{"".join(figures)}</div>'
    if best is not None:
        body += page.paragraph(
            f"The dashed upright line marks epoch {best}, whose weights were kept."
        )
    keys = [key for key in TABLED if any(finite(record.get(key)) for record in log)]
    header = ("Epoch", *(_column(key) for key in keys))
    rows = [(str(epoch), *(_cell(record, key) for key in keys)) for epoch, record in _numbered(log)]
    return body + page.details("In numbers", page.table("The training log", header, rows))


def _sentence(line: Series, unit: str) -> str:
    (_, first), (last_epoch, last) = line.points[0], line.points[-1]
    name = line.name[0].upper() + line.name[1:]
    if len(line.points) == 1:
        return f"{name}: {first:.3g}{unit}."
    return f"{name}: from {first:.3g}{unit} to {last:.3g}{unit} in epoch {last_epoch:.0f}."


def _column(key: str) -> str:
    if key in PERCENT:
        return f"{PERCENT[key]} [%]"
    units = {
        "seconds": "time [s]",
        "lr": "learning rate",
        "bleu": "BLEU",
        "log_loss": "validation loss [nats]",
        "nats": "validation loss [nats]",
        "bits": "bits a unit",
        "mae": "MAE",
        "rmse": "RMSE",
        "r2": "R²",
        "mase": "MASE",
        "crps": "CRPS",
    }
    return units.get(key, key.replace("_", " "))


def _cell(record: Mapping[str, Any], key: str) -> str | float:
    value = record.get(key)
    if not finite(value):
        return "–"
    assert value is not None
    return 100.0 * value if key in PERCENT else float(value)
