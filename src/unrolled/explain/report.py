"""Reports: what a model answered, what it looked at and how it was trained, as one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unrolled.artifact import write_files
from unrolled.errors import ConfigError
from unrolled.explain import page, svg
from unrolled.explain.alignment import checked, summary
from unrolled.explain.classes import frames_panel, with_classes
from unrolled.explain.curves import RATES, finite, learning_curves
from unrolled.explain.flow import flow_section
from unrolled.explain.labels import counted, join, shown
from unrolled.explain.readings import ALIGNMENT_READING
from unrolled.explain.results import Explanation
from unrolled.explain.sections import with_explanations

Example = Mapping[str, Any]
Numbers = Mapping[str, Any]
Extra = Sequence[tuple[str, str]]

MEANINGS = {
    "per": "edits per token of the nearest reference; lower is better",
    "wer": "share of answers that are not exactly right; lower is better",
    "accuracy": "share of labels that are right; higher is better",
    "micro_f1": "harmonic mean of precision and recall, all labels together; higher is better",
    "exact_accuracy": "share of examples whose labels are all right; higher is better",
    "mae": "mean absolute error, in the target's unit; lower is better",
    "rmse": "root of the mean squared error, in the target's unit; lower is better",
    "r2": "share of the variance that is explained, at best 1; higher is better",
    "spearman": "correlation of ranks, from -1 to 1; higher is better",
    "macro_f1": "mean over classes of the harmonic mean of precision and recall; higher is better",
    "bleu": "overlap of words and phrases with the references, 0 to 100; higher is better",
    "span_f1": "harmonic mean of precision and recall of whole spans; higher is better",
    "intent_accuracy": "share of sentences whose own label is right; higher is better",
    "sentence_accuracy": "share of sentences without an error; higher is better",
    "log_loss": "mean of -log p(true class) in nats; lower is better",
    "nats": "mean of -log p(unit given all before it); lower is better",
    "bits": "nats / log 2, the bits that a unit would take; lower is better",
    "perplexity": "exp(nats): as unsure as among so many likely units; lower is better",
    "hr@10": "share of sequences whose last item is among the first 10 named; higher is better",
    "ndcg@10": "mean of 1 / log2(1 + place) of the last item, 0 beyond place 10; higher is better",
    "mrr@20": "mean of 1 / place of the last item, 0 beyond place 20; higher is better",
    "recall@20": "share of sequences whose last item is among the first 20 named; higher is better",
    "steps_mrr@20": "mean of 1 / place over every item but the first, 0 beyond place 20",
    "steps_recall@20": "share of all items but the first that are among the 20 named",
    "smape": "mean of 200 |y - f| / (|y| + |f|), in %; lower is better",
    "mase": "absolute error over that of the value a season ago, in the past; lower is better",
    "mse": "mean squared error; lower is better",
    "rse": "root of the squared error over that of the mean of what came; lower is better",
    "scaled_crps": "CRPS over the error of the value a season ago, in the past; lower is better",
    "coverage_80": "share of values within the interval of 80 %; 0.8 is right",
    "coverage_95": "share of values within the interval of 95 %; 0.95 is right",
    "windows": "origins that were forecast from",
    "crps": "continuous ranked probability score, in the units of the series; lower is better",
    "train_seconds": "time spent in training, in seconds",
    "train_loss": "mean loss on the training data in the epoch that was kept; lower is better",
    "epoch": "the pass whose weights were kept",
    "epochs_run": "passes over the training data",
    "epochs": "passes over the training data",
    "best_epoch": "the pass whose weights were kept",
    "beam": "hypotheses kept while decoding",
}
MOST_CLASSES = 10
MOST_TOKENS = 8
MOST_CHARACTERS = 60
WIDE_FROM = 13
CAVEAT = (
    "Attention shows where the model looked, which is not always why it decided (Jain and Wallace"
    " 2019)."
)
TEXT_READING = (
    "The stronger the shading of a {unit}, the more it weighed in the answer; the strongest has a"
    " weight of {most:.3f}, and all weights of the text sum to 1."
)


def translation_report(
    title: str,
    examples: Sequence[Example],
    log: Sequence[Numbers] = (),
    metrics: Numbers | None = None,
    *,
    extra_sections: Extra = (),
    explanations: Sequence[Explanation] = (),
    source_unit: str = "token",
    target_unit: str = "token",
) -> str:
    """Return a page on an encoder-decoder: its numbers, learning curves, and what it looked at.

    An example holds `source_tokens` [S], `target_tokens` [T], `weights` [T, S] (None where the
    model has no attention), `predicted`, and where they are known `true` (a text or several) and
    `word`, its heading. `log` is a record an epoch. `extra_sections` are (heading, plain text with
    blank lines between paragraphs), `explanations` is what `unrolled.explain.explain` found. Raises
    `ValueError` for an example whose parts do not fit.
    """
    _check_keys(examples, ("source_tokens", "target_tokens", "weights", "predicted"))
    units = {"source_unit": source_unit, "target_unit": target_unit}
    body = page.table(
        "Answers, one a row",
        ("Input", "Answer", "Expected", "Right"),
        [_answer(e) for e in examples],
    )
    panels = [
        (heading(e), alignment_panel(k, e, units), len(e["source_tokens"]) >= WIDE_FROM)
        for k, e in enumerate(examples, start=1)
    ]
    report = with_numbers(page.Report(title, _lead(metrics, log)), log, metrics)
    answers = ("Examples", body + page.articles(panels)) if examples else None
    return _with_extra(with_explanations(report, explanations, answers), extra_sections).html()


def classification_report(
    title: str,
    examples: Sequence[Example],
    log: Sequence[Numbers] = (),
    metrics: Numbers | None = None,
    *,
    extra_sections: Extra = (),
    explanations: Sequence[Explanation] = (),
    unit: str = "token",
) -> str:
    """Return a page on a classifier or regressor: each sequence with what weighed in its answer.

    An example holds `tokens` [T], `weights` [T] (None where the model has no attention),
    `predicted`, `probabilities` (label -> share) or `values` (target -> number), and where it is
    known `true`; of frames also `frames` [T, I] and the names of their `features` [I]. Where
    `metrics` holds the confusion matrix or numbers class by class, the page shows them. The rest is
    as in `translation_report`.
    """
    _check_keys(examples, ("tokens", "weights", "predicted"))
    panels = [(_verdict(e), _attended(k, e, unit), False) for k, e in enumerate(examples, start=1)]
    report = with_numbers(page.Report(title, _lead(metrics, log)), log, metrics)
    report = with_classes(report, metrics)
    answers = None
    if examples:
        heading = "Sequences" if "frames" in examples[0] else "Texts"
        answers = heading, page.paragraph(CAVEAT, kind="soft") + page.articles(panels)
    return _with_extra(with_explanations(report, explanations, answers), extra_sections).html()


def write_report(path: str | Path, html: str) -> None:
    """Write a page to a file, whole or not at all; `ConfigError` where `path` is a folder."""
    place = Path(path)
    if place.is_dir():
        raise ConfigError(f"{place}: is a folder; expected the name of a file to write")
    write_files(place.parent, {place.name: html.encode("utf-8")})


def _check_keys(examples: Sequence[Example], keys: Sequence[str]) -> None:
    for number, example in enumerate(examples, start=1):
        for key in keys:
            if key not in example:
                there = ", ".join(map(str, example))
                raise ValueError(f"example {number} has no {key!r}; it has: {there}")


def heading(example: Example) -> str:
    """Return what stands over an example: its input and the answer, cut where they are long."""
    return f"{_cut(_input(example))} → {_cut(str(example['predicted']))}"


def _input(example: Example) -> str:
    return str(example.get("word") or "".join(join(example["source_tokens"])))


def _cut(content: str) -> str:
    return content if len(content) <= MOST_CHARACTERS else content[: MOST_CHARACTERS - 1] + "…"


def _references(example: Example) -> list[str]:
    true = example.get("true")
    if true is None:
        return []
    return [true] if isinstance(true, str) else [str(each) for each in true]


def _outcome(said: str, known: Sequence[str]) -> str:
    return "Right." if said in known else f"Not right; expected: {' or '.join(known)}."


def _answer(example: Example) -> tuple[str, str, str, str]:
    known = _references(example)
    said = str(example["predicted"])
    right = ("yes" if said in known else "no") if known else "–"
    return _cut(_input(example)), said, " or ".join(known), right


def alignment_panel(number: int, example: Example, units: Mapping[str, str]) -> str:
    """Return what one example of `translation_report` shows: its alignment, drawn and in words."""
    source = list(example["source_tokens"])
    target = list(example["target_tokens"])
    weights = example["weights"]
    known = _references(example)
    said = str(example["predicted"])
    verdict = ""
    if known:
        verdict = page.paragraph(_outcome(said, known))
    if weights is None:
        return verdict + page.paragraph("This model has no attention to show.")
    try:
        array = checked(weights, target, source)
    except ValueError as error:
        raise ValueError(f"example {number}: {error}") from None
    if not target:
        return verdict + page.paragraph(f"No {units['target_unit']} was written.")
    said_of = summary(array, source, target, **units)
    picture = svg.heat_map(
        array,
        target,
        source,
        target_title=f"{units['target_unit']}s written",
        source_title=f"{units['source_unit']}s read",
        description=" ".join(said_of.sentences),
    )
    header = ("written", *(shown(token) for token in source))
    rows: list[tuple[str | float, ...]] = [
        (shown(token), *map(float, row.round(3))) for token, row in zip(target, array, strict=True)
    ]
    reading = ALIGNMENT_READING.format(**units)
    return (
        verdict
        + page.figure("Alignment, weights from 0 to 1", picture, reading, scrolls=True)
        + page.paragraph(said_of.overview)
        + page.details("In sentences", page.bullets(said_of.sentences))
        + page.details("In numbers", page.table("Weights, written by read", header, rows))
    )


def _verdict(example: Example) -> str:
    if "frames" in example:
        return f"{example['predicted']}: {counted(len(example['tokens']), 'step')}"
    return f"{example['predicted']}: {_cut(''.join(join(example['tokens'])))}"


def _attended(number: int, example: Example, unit: str) -> str:
    tokens = list(example["tokens"])
    weights = example["weights"]
    said = str(example["predicted"])
    known = _references(example)
    verdict = f"{'Answer' if 'values' in example else 'Label'}: {said}."
    if known:
        verdict += f" {_outcome(said, known)}"
    body = page.paragraph(verdict)
    odds = _odds(example)
    if "frames" in example:
        return body + odds + frames_panel(example, said)
    if weights is None:
        whole = page.paragraph("".join(join(tokens)), kind="read")
        return body + odds + whole + page.paragraph("This model has no attention to show.")
    try:
        (row,) = checked([list(weights)], [said], tokens)
    except ValueError as error:
        raise ValueError(f"example {number}: {error}") from None
    return body + odds + _reading(tokens, [float(w) for w in row], unit)


def _odds(example: Example) -> str:
    """Return the table of probabilities, or of numbers where the answer is numbers."""
    if "values" in example:
        rows = [(str(name), float(value)) for name, value in example["values"].items()]
        return page.table("The answer", ("Target", "Value"), rows)
    chances = sorted(example["probabilities"].items(), key=lambda item: -item[1])
    rest = len(chances) - MOST_CLASSES
    more = f", the first {MOST_CLASSES} of {len(chances)}" if rest > 0 else ""
    listed = [(str(label), float(p)) for label, p in chances[:MOST_CLASSES]]
    return page.shares(f"Probability of each label{more}", ("Label", "Probability"), listed)


def _reading(tokens: Sequence[str], weights: Sequence[float], unit: str) -> str:
    most = sorted(range(len(tokens)), key=lambda k: -weights[k])[:MOST_TOKENS]
    top = most[0]
    sentence = (
        f"The answer leans most on '{shown(tokens[top])}' ({unit} {top + 1} of {len(tokens)}):"
        f" {page.percent(weights[top])} of the attention; these {len(most)} hold"
        f" {page.percent(sum(weights[k] for k in most))}."
    )
    marked = page.marked_text(tokens, weights)
    reading = TEXT_READING.format(unit=unit, most=weights[top])
    heaviest = [(f"{shown(tokens[k])} ({unit}\u00a0{k + 1})", weights[k]) for k in most]
    rows = [
        (k + 1, shown(token), round(w, 4))
        for k, (token, w) in enumerate(zip(tokens, weights, strict=True))
    ]
    header = ("Place", unit.capitalize(), "Weight")
    return (
        page.figure("Attention over the text, weights from 0 to 1", marked, reading)
        + page.paragraph(sentence)
        + page.shares(f"The heaviest {unit}s", (unit.capitalize(), "Attention"), heaviest)
        + page.details(
            f"Every {unit} in numbers", page.table("Weights in reading order", header, rows)
        )
    )


def _lead(metrics: Numbers | None, log: Sequence[Numbers]) -> str:
    found = metrics or {}
    rates = [
        f"{name} {page.percent(found[key], 2)}"
        for key, name in RATES.items()
        if finite(found.get(key))
    ]
    parts = [f"Measured: {', '.join(rates)}."] if rates else []
    if log:
        parts.append(f"Trained for {len(log)} epoch{'s' if len(log) > 1 else ''}.")
    parts.append("Below is what the model answered, and what it looked at while it did.")
    return " ".join(parts)


def with_numbers(
    report: page.Report, log: Sequence[Numbers], metrics: Numbers | None
) -> page.Report:
    """Return the report with a table of its metrics, its learning curves and its gradients' flow.

    A record of the log may hold its epoch's line of training/flow.jsonl as `flow`.
    """
    rows = [_metric(key, value) for key, value in (metrics or {}).items() if _is_plain(value)]
    if rows:
        header = ("Metric", "Value", "What it says")
        report = report.add("Results", page.table("What was measured", header, rows))
    if log:
        report = report.add("Learning curves", learning_curves(log))
    flow = [record["flow"] for record in log if "flow" in record]
    if flow:
        report = report.add("Gradient flow", flow_section(flow))
    return report


def _with_extra(report: page.Report, extra: Extra) -> page.Report:
    for heading, content in extra:
        parts = [part.strip() for part in content.split("\n\n") if part.strip()]
        report = report.add(heading, "".join(page.paragraph(part) for part in parts))
    return report


def _metric(key: str, value: Any) -> tuple[str, str, str]:
    plain = key.removeprefix("validation_")
    meaning = MEANINGS.get(plain, "")
    if plain != key and meaning:
        meaning += " (on validation data)"
    if plain in RATES and finite(value):
        name = RATES[plain] if plain == key else f"validation {RATES[plain]}"
        return name, page.percent(float(value), 2), meaning
    shown_value = f"{value:,.4g}" if isinstance(value, float) else str(value)
    return key.replace("_", " "), shown_value, meaning


def _is_plain(value: object) -> bool:
    return finite(value) or isinstance(value, (str, bool))
