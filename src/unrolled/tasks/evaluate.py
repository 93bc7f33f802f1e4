"""Measure a model folder's model on labelled data, without the training framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from unrolled.data.panel import Panel
from unrolled.data.read import labels, read_pairs, read_table, texts
from unrolled.data.sequences import FRAMES, Sequences, format_of, read_sequences
from unrolled.data.vocab import LabelVocabulary, normalise
from unrolled.errors import DataError
from unrolled.runtime.forecaster_model import ANSWER, ForecastModel
from unrolled.runtime.model import ClassifierModel, Model, TranslatorModel
from unrolled.runtime.tagger_model import TaggerModel
from unrolled.spec import VocabularySpec
from unrolled.tasks.forecast_evaluate import evaluate_forecaster
from unrolled.train.metrics import bleu, class_metrics, group_references, sequence_error_rates
from unrolled.train.spans import span_metrics


class Labelled(NamedTuple):
    """Inputs and wanted answers of a file, and the place of each."""

    sources: list[str]
    targets: list[str]
    where: list[str]


Examples = Labelled | Sequences | Panel


def read_examples(
    model: Model,
    data: str,
    *,
    format: str | None = None,
    source: str | None = None,
    target: str | None = None,
) -> Examples:
    """Read labelled data as the model was trained to; `data` may be `-` for standard input."""
    if isinstance(model, TaggerModel):
        return read_sentences(model, data, format=format, source=source, target=target)
    if isinstance(model, ForecastModel):
        return model.read(read_table(data, format=format))
    names = (source or model.config.data.source, target or model.config.data.target)
    if isinstance(model, ClassifierModel):
        table = read_table(data, columns=names, format=format)
        wanted = labels(table, names[1])
    else:
        table = read_pairs(data, *names, format=format)
        wanted = texts(table, names[1])
    where = [table.where(i, names[1]) for i in range(len(table))]
    return Labelled(texts(table, names[0]), wanted, where)


def read_sentences(
    model: TaggerModel,
    data: str,
    *,
    format: str | None = None,
    source: str | None = None,
    target: str | None = None,
    tagged: bool = True,
) -> Sequences:
    """Read words or frames as the tagger was trained to, with their tags where they are `tagged`.

    Raises DataError where the file holds the other kind of sequence.
    """
    spec, shape = model.config.data, format_of(data, format, tagged=tagged)
    if model.reads_frames != (shape in FRAMES):
        reads = "frames (npz, parquet)" if model.reads_frames else "words (conllu, conll, jsonl)"
        raise DataError(f"{data}: the model reads {reads}, the file is {shape}")
    return read_sequences(
        data,
        format=format,
        tagged=tagged,
        column=target or spec.target,
        words=source or spec.source,
        intent=model.tagging.intent,
        sequence=model.tagging.sequence,
        time=model.tagging.time,
        features=model.tagging.features or None,
    )


def evaluate_examples(model: Model, examples: Examples, *, beam: int = 1) -> dict[str, Any]:
    """Return the metrics of the model's task on what `read_examples` read for it."""
    if isinstance(model, TaggerModel):
        return evaluate_tagger(model, cast("Sequences", examples))
    if isinstance(model, ForecastModel):
        return evaluate_forecaster(model, cast("Panel", examples))
    table = cast("Labelled", examples)
    if isinstance(model, ClassifierModel):
        return evaluate_classifier(model, table.sources, table.targets, table.where)
    return evaluate_translator(model, table.sources, table.targets, beam=beam)


def answers(model: Model, examples: Examples, *, beam: int = 1) -> list[Any]:
    """Return the model's one answer to each example: a label, a text, or tags and the intent.

    A forecaster's are the values that come next, to three digits.
    """
    if isinstance(model, TaggerModel):
        found = model.tag(cast("Sequences", examples).inputs)
        tags = [best[0].tags for best in found.answers]
        intents = [None] * len(tags) if found.intents is None else [i.label for i in found.intents]
        return list(zip(tags, intents, strict=True))
    if isinstance(model, ForecastModel):
        return [f"{value:.3g}" for value in model.answer(cast("Panel", examples))[ANSWER]]
    sources = cast("Labelled", examples).sources
    if isinstance(model, ClassifierModel):
        return model.classify(sources).labels
    return [best[0].text for best in model.translate(sources, beam=beam).answers]


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


def evaluate_tagger(model: TaggerModel, sequences: Sequences) -> dict[str, Any]:
    """Return accuracy, spans' F1 where the tags spell spans, and the share of sentences all right.

    `log_loss` is the mean of -log p(true tag | x) in nats, over the tags that the model knows.
    With an intent, its accuracy too, and a sentence is right where its intent is as well. A tag or
    intent that the model does not know counts as an error; `unknown_tags` counts these steps.
    """
    found = model.tag(sequences.inputs, marginals=True)
    said = [list(best[0].tags) for best in found.answers]
    true = [list(tags) for tags in sequences.tags]
    hits = [[a == b for a, b in zip(*pair, strict=True)] for pair in zip(said, true, strict=True)]
    steps = sum(map(len, true))
    metrics: dict[str, Any] = {"accuracy": sum(map(sum, hits)) / max(steps, 1)}
    if model.tagging.scheme != "none":
        metrics |= span_metrics(said, true)
    right = [all(row) for row in hits]
    if found.intents is not None and sequences.intents:
        pairs = zip(found.intents, sequences.intents, strict=True)
        named = [intent.label == label for intent, label in pairs]
        metrics["intent_accuracy"] = sum(named) / max(len(named), 1)
        right = [a and b for a, b in zip(right, named, strict=True)]
    metrics["sentence_accuracy"] = sum(right) / max(len(right), 1)
    column = {tag: k for k, tag in enumerate(model.tags)}
    chances = [
        row[column[tag]]
        for shares, tags in zip(found.marginals or [], true, strict=True)
        for row, tag in zip(shares, tags, strict=True)
        if tag in column
    ]
    losses = -np.log(np.maximum(np.array(chances, dtype=np.float64), 1e-12))
    metrics["log_loss"] = float(losses.sum() / max(len(chances), 1))
    counts = {"count": len(true), "steps": steps, "unknown_tags": steps - len(chances)}
    return {**metrics, **counts}


def units(text: str, spec: VocabularySpec) -> list[str]:
    """Return what an error rate counts in `text`: characters for `char`, else words."""
    seen = normalise(text, lowercase=spec.lowercase)
    return list(seen) if spec.tokens == "char" else seen.split()
