"""What a model does class by class, and what it read of frames: confusion matrix, tables, lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unrolled.explain import page, svg
from unrolled.explain.labels import fitted
from unrolled.explain.svg import Series

MOST_DRAWN = 60
MOST_CONFUSIONS = 10
MOST_LINES = 4
WIDEST_NAME = 24.0
FIGURE_SPACE = "\u2007"
READING = (
    "A row is a true class, a column what was said. The colour is the share of the row; the number"
    " is how many examples. Right answers lie on the diagonal; the frame marks each row's most."
)


def with_classes(report: page.Report, metrics: Mapping[str, Any] | None) -> page.Report:
    """Return the report with its confusion matrix and its numbers by class or target."""
    found = metrics or {}
    if "confusion" in found and "classes" in found:
        body = confusion_matrix(found["confusion"], found["classes"])
        report = report.add("Confusion matrix", body)
    if found.get("per_class"):
        report = report.add("Class by class", class_table(found["per_class"]))
    if found.get("per_target"):
        rows = [(name, *map(float, each.values())) for name, each in found["per_target"].items()]
        header = ("Target", "MAE", "RMSE", "R2", "Spearman")
        report = report.add("Target by target", page.table("Errors by target", header, rows))
    return report


def confusion_matrix(counts: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Return the matrix as a heat map normalised by row, and its largest confusions as a table.

    Of more than 60 classes only those are drawn that are confused most.
    """
    table, labels = np.asarray(counts, dtype=np.int64), list(map(str, names))
    wrong = table - np.diag(table.diagonal())
    body = _confusions(wrong, table, labels)
    # A name is read as words here, not as units whose spaces must be seen.
    labels = [label.replace(" ", FIGURE_SPACE) for label in labels]
    note = ""
    if len(labels) > MOST_DRAWN:
        involved = wrong.sum(axis=0) + wrong.sum(axis=1)
        kept = np.sort(np.argsort(-involved, kind="stable")[:MOST_DRAWN])
        note = f" Drawn are the {MOST_DRAWN} of {len(labels)} classes that are confused most."
        shares = _normalised(table)[np.ix_(kept, kept)]
        table, labels = table[np.ix_(kept, kept)], [labels[k] for k in kept]
    else:
        shares = _normalised(table)
    hits, total = int(np.asarray(counts).diagonal().sum()), int(np.asarray(counts).sum())
    picture = svg.heat_map(
        shares,
        labels,
        labels,
        target_title="true class",
        source_title="said",
        description=f"{hits} of {total} examples are on the diagonal.",
        numbers=[[str(count) if count else "" for count in row] for row in table.tolist()],
    )
    return page.figure("Confusion matrix", picture, READING + note, scrolls=True) + body


def _normalised(table: Any) -> Any:
    return table / np.maximum(table.sum(axis=1, keepdims=True), 1)


def _confusions(wrong: Any, table: Any, labels: Sequence[str]) -> str:
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = [(int(k) // len(labels), int(k) % len(labels)) for k in order]
    rows: list[tuple[str | float, ...]] = [
        (labels[t], labels[s], int(wrong[t, s]), page.percent(wrong[t, s] / table[t].sum(), 1))
        for t, s in pairs
        if wrong[t, s]
    ]
    if not rows:
        return page.paragraph("No example was taken for another class.")
    header = ("True class", "Said", "Examples", "Of the class")
    return page.table("The largest confusions", header, rows)


def class_table(report: Mapping[str, Mapping[str, Any]]) -> str:
    """Return F1, precision and recall of each class, those with the most examples first."""
    ordered = sorted(report.items(), key=lambda item: -item[1]["count"])
    thresholds = bool(ordered) and "threshold" in ordered[0][1]
    keys = ("f1", "precision", "recall", *(("threshold",) if thresholds else ()))
    rows: list[tuple[str | float, ...]] = [
        (name, *(round(float(each[key]), 4) for key in keys), int(each["count"]))
        for name, each in ordered
    ]
    header = ("Class", *(key.capitalize() for key in keys), "Examples")
    return page.table("Precision and recall by class", header, rows)


def frames_panel(example: Mapping[str, Any], said: str) -> str:
    """Return the features of a sequence of frames as lines over its steps, and its attention.

    They are called by `features` where the example has these, else by their number from 1.
    """
    frames = np.asarray(example["frames"], dtype=np.float64)
    weights = example["weights"]
    numbered = [f"feature {k}" for k in range(1, frames.shape[1] + 1)]
    names = list(example.get("features") or numbered)
    if len(frames) > 1:
        body = _lines(frames, names)
    else:
        rows = [(name, float(x)) for name, x in zip(names, frames[0], strict=True)]
        body = page.table("The one step", ("Feature", "Value"), rows)
    if weights is None:
        return body + page.paragraph("This model has no attention to show.")
    w = np.asarray(weights, dtype=np.float64)
    top = int(w.argmax())
    sentence = (
        f"The answer leans most on step {top + 1} of {len(w)}: {page.percent(float(w[top]))} of"
        " the attention."
    )
    if len(w) > 1:
        picture = svg.line_chart(
            (Series("attention", tuple((t + 1.0, float(x)) for t, x in enumerate(w))),),
            x_title="step",
            y_title="weight",
            description=sentence,
        )
        reading = "The higher, the more a step weighed in the answer; all weights sum to 1."
        body += page.figure("Attention over the steps", picture, reading)
    return body + page.paragraph(sentence)


def _lines(frames: Any, names: Sequence[str]) -> str:
    """Draw the features that vary most, each from its lowest (0) to its highest value (1)."""
    low, high = np.nanmin(frames, axis=0), np.nanmax(frames, axis=0)
    spread = high - low
    chosen = np.sort(np.argsort(-spread, kind="stable")[:MOST_LINES])
    series = tuple(
        Series(
            fitted(names[k], WIDEST_NAME),
            tuple(
                (t + 1.0, float((x - low[k]) / (spread[k] or 1.0)))
                for t, x in enumerate(frames[:, k])
                if np.isfinite(x)
            ),
        )
        for k in chosen
    )
    text = f"{len(chosen)} of {frames.shape[1]} features over {len(frames)} steps."
    picture = svg.line_chart(
        series, x_title="step", y_title="from lowest to highest", description=text
    )
    reading = f"{text} Each line runs from the feature's lowest value, 0, to its highest, 1."
    return page.figure("What was read", picture, reading)
