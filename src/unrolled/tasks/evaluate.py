"""Measure a model folder's model on labelled data, without the training framework."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np

from unrolled.config import DataSpec, VocabularySpec
from unrolled.data import examples as pooled
from unrolled.data.captions import Described, read_described
from unrolled.data.panel import Panel, joined
from unrolled.data.read import read_pairs, read_table, texts
from unrolled.data.sequences import FRAMES, Sequences, format_of, read_sequences
from unrolled.data.shards import read_whole, shard_paths
from unrolled.data.vocab import LabelVocabulary, normalise
from unrolled.errors import DataError
from unrolled.runtime.captioner_model import CaptionerModel
from unrolled.runtime.forecaster_model import ANSWER, ForecastModel
from unrolled.runtime.generator_model import GeneratorModel
from unrolled.runtime.model import ClassifierModel, Model, RegressorModel, TranslatorModel
from unrolled.runtime.tagger_model import TaggerModel
from unrolled.tasks.forecast_evaluate import evaluate_forecaster
from unrolled.train.metrics import (
    bleu,
    class_metrics,
    group_references,
    label_metrics,
    regression_metrics,
    sequence_error_rates,
)
from unrolled.train.spans import span_metrics


class Labelled(NamedTuple):
    """Inputs and wanted answers of a file, and the place of each."""

    sources: list[str]
    targets: list[str]
    where: list[str]


Examples = Labelled | Sequences | pooled.Examples | Panel | Described


def read_examples(
    model: Model,
    data: str,
    *,
    format: str | None = None,
    source: str | None = None,
    target: str | None = None,
) -> Examples:
    """Read labelled data as the model was trained to; `data` may be `-` for standard input.

    It may be a folder or a pattern of files, which are read together.
    """
    if isinstance(model, GeneratorModel):
        raise DataError(f"{data}: a generator has no labelled examples; use evaluate")
    if isinstance(model, TaggerModel):
        tagger = partial(read_sentences, model, format=format, source=source, target=target)
        return read_whole(data, tagger)
    if isinstance(model, CaptionerModel):
        described = partial(read_described_by, model, format=format, source=source, target=target)
        return read_whole(data, described)
    if isinstance(model, ForecastModel):
        paths = shard_paths(data) or [data]
        return joined((model.read(read_table(path, format=format)) for path in paths), data)
    names = (source or model.config.data.source, target or model.config.data.target)
    if isinstance(model, (ClassifierModel, RegressorModel)):
        spec = _reading(model, source, target)
        return read_whole(data, partial(pooled.read_examples, data=spec, format=format))
    paths = shard_paths(data) or [data]
    tables = [read_pairs(path, *names, format=format) for path in paths]
    return Labelled(
        [text for table in tables for text in texts(table, names[0])],
        [text for table in tables for text in texts(table, names[1])],
        [table.where(i, names[1]) for table in tables for i in range(len(table))],
    )


def _reading(
    model: ClassifierModel | RegressorModel, source: str | None, target: str | None
) -> DataSpec:
    """Return how the model's files are read, with other columns where they are given."""
    data = model.config.data
    changes: dict[str, Any] = {"source": source} if source else {}
    if target:
        changes["target"] = target
        if data.targets:
            changes["targets"] = tuple(name.strip() for name in target.split(","))
    return msgspec.structs.replace(data, **changes)


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
    if isinstance(model, GeneratorModel):
        raise DataError("a generator has no labelled examples; use evaluate")
    if isinstance(model, TaggerModel):
        return evaluate_tagger(model, cast("Sequences", examples))
    if isinstance(model, CaptionerModel):
        return evaluate_captioner(model, cast("Described", examples), beam=beam)
    if isinstance(model, ForecastModel):
        return evaluate_forecaster(model, cast("Panel", examples))
    if isinstance(model, ClassifierModel):
        return evaluate_classifier(model, cast("pooled.Examples", examples))
    if isinstance(model, RegressorModel):
        return evaluate_regressor(model, cast("pooled.Examples", examples))
    table = cast("Labelled", examples)
    return evaluate_translator(model, table.sources, table.targets, beam=beam)


def answers(model: Model, examples: Examples, *, beam: int = 1) -> list[Any]:
    """Return the model's one answer to each example: a label, a text, or tags and the intent.

    A forecaster's are the values that come next, to three digits.
    """
    if isinstance(model, GeneratorModel):
        raise DataError("a generator has no labelled examples; use evaluate")
    if isinstance(model, TaggerModel):
        found = model.tag(cast("Sequences", examples).inputs)
        tags = [best[0].tags for best in found.answers]
        intents = [None] * len(tags) if found.intents is None else [i.label for i in found.intents]
        return list(zip(tags, intents, strict=True))
    if isinstance(model, CaptionerModel):
        return model.predict(cast("Described", examples).inputs, beam=beam)
    if isinstance(model, ForecastModel):
        return [f"{value:.3g}" for value in model.answer(cast("Panel", examples))[ANSWER]]
    if isinstance(model, ClassifierModel):
        return model.classify(cast("pooled.Examples", examples).inputs).labels
    if isinstance(model, RegressorModel):
        values, _ = model.regress(cast("pooled.Examples", examples).inputs)
        return [tuple(f"{value:.3g}" for value in row) for row in values]
    sources = cast("Labelled", examples).sources
    return [best[0].text for best in model.translate(sources, beam=beam).answers]


def read_described_by(
    model: CaptionerModel,
    data: str,
    *,
    format: str | None = None,
    source: str | None = None,
    target: str | None = None,
    captions: str | None = None,
    captioned: bool = True,
) -> Described:
    """Read what a captioner describes, with its texts where it is `captioned`.

    Raises DataError where the file holds another kind than the model reads, or another width.
    """
    spec, wanted = model.config.data, model.network.spec
    found = read_described(
        data,
        format=format,
        features=source or spec.source,
        caption=(target or spec.target) if captioned else None,
        captions=captions,
    )
    if found.kind != wanted.inputs:
        raise DataError(
            f"{found.name}: the model reads {wanted.inputs}, the file holds {found.kind}"
        )
    for i, each in enumerate(found.inputs):
        if found.kind != "attributes" and each.shape[1] != wanted.feature_size:
            raise DataError(
                f"{found.where(i)}: {each.shape[1]} numbers, but the model reads "
                f"{wanted.feature_size}"
            )
        if wanted.positions and len(each) > wanted.positions:
            raise DataError(
                f"{found.where(i)}: {len(each)} regions, but the model has places for "
                f"{wanted.positions}"
            )
    return found


def evaluate_captioner(
    model: CaptionerModel, examples: Described, *, beam: int = 1, with_bleu: bool = True
) -> dict[str, Any]:
    """Return PER, WER and, for words and BPE, BLEU; of a thing's texts the nearest counts.

    `log_loss` is the mean over all texts' units, `</s>` included, of -log p(unit) in nats.
    """
    things = examples.grouped()
    answers = model.predict(things.inputs, beam=beam)
    spec = model.target_vocabulary.spec
    metrics: dict[str, Any] = sequence_error_rates(
        [units(answer, spec) for answer in answers],
        [[units(text, spec) for text in options] for options in things.captions],
    )
    if with_bleu and spec.tokens != "char":
        metrics |= bleu(answers, things.captions)
    pairs = [(i, text) for i, options in enumerate(things.captions) for text in options]
    told = model.log_prob([things.inputs[i] for i, _ in pairs], [text for _, text in pairs])
    steps = sum(len(model.target_vocabulary.encode(text)) + 1 for _, text in pairs)
    counts = {"count": len(things), "texts": len(pairs), "beam": beam}
    return {**metrics, "log_loss": float(-told.sum() / max(steps, 1)), **counts}


def evaluate_classifier(model: ClassifierModel, examples: pooled.Examples) -> dict[str, Any]:
    """Return accuracy, macro F1, log loss, confusion matrix and each class's precision and recall.

    With several labels an example, micro and macro F1 and each label's. A label that the model does
    not know is a DataError that names its place.
    """
    names: LabelVocabulary = model.labels
    found = model.classify(examples.inputs)
    if model.thresholds is None:
        ids = names.encode(examples.targets, examples.where_answer)
        metrics = class_metrics(found.probabilities, ids, names.labels)
    else:
        true = np.zeros((len(examples), len(names)))
        for i, given in enumerate(examples.targets):
            for label in given:
                true[i, names.index(label, where=examples.where_answer(i))] = 1
        metrics = label_metrics(found.probabilities, true, model.thresholds, names.labels)
    return {**metrics, "truncated": len(found.truncated)}


def evaluate_regressor(model: RegressorModel, examples: pooled.Examples) -> dict[str, Any]:
    """Return MAE, RMSE, R2 and Spearman's correlation, of several targets their means and each."""
    values, truncated = model.regress(examples.inputs)
    true = np.array(list(examples.targets), dtype=np.float64)
    if true.shape[1] != len(model.targets):
        raise DataError(
            f"{examples.name}: {true.shape[1]} targets a sequence, the model's are "
            f"{', '.join(model.targets)}"
        )
    metrics = regression_metrics(values, true, model.targets)
    return {**metrics, "truncated": len(truncated)}


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

    `log_loss` is the mean of -log p(true tag | x) in nats, over the tags that the model knows;
    where it knows none there is no such mean.
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
    if chances:
        losses = -np.log(np.maximum(np.array(chances, dtype=np.float64), 1e-12))
        metrics["log_loss"] = float(losses.mean())
    counts = {"count": len(true), "steps": steps, "unknown_tags": steps - len(chances)}
    return {**metrics, **counts}


def units(text: str, spec: VocabularySpec) -> list[str]:
    """Return what an error rate counts in `text`: characters for `char`, else words."""
    seen = normalise(text, lowercase=spec.lowercase)
    return list(seen) if spec.tokens == "char" else seen.split()
