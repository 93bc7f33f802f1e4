"""From a loaded model and texts to what the report shows of them. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unrolled.runtime.model import ClassifierModel, RegressorModel, TranslatorModel


def examples_of(
    model: ClassifierModel | RegressorModel | TranslatorModel,
    texts: Sequence[Any],
    *,
    beam: int = 1,
) -> list[dict[str, Any]]:
    """Answer each text, or sequence of frames, and return the answers with the attention behind.

    The keys are those of `report.translation_report` and `report.classification_report`.
    """
    if isinstance(model, (ClassifierModel, RegressorModel)):
        return _pooled(model, texts)
    return _translated(model, texts, beam)


def _pooled(
    model: ClassifierModel | RegressorModel, sequences: Sequence[Any]
) -> list[dict[str, Any]]:
    attended = None
    if model.network.pooling is not None:
        attended = model.attention(sequences)
    examples = []
    for row, (sequence, said) in enumerate(zip(sequences, _said(model, sequences), strict=True)):
        example = {
            "tokens": model.units(sequence) if attended is None else attended[row].units,
            "weights": None if attended is None else attended[row].weights,
            **said,
        }
        example["frames" if model.reads_frames else "text"] = sequence
        if model.reads_frames:
            example["features"] = _features(model)
        examples.append(example)
    return examples


def _features(model: ClassifierModel | RegressorModel) -> tuple[str, ...]:
    """Return the names of what a frame holds; none where an array only numbered them, from 0."""
    frames = model.config.data.frames
    names = () if frames is None else frames.features
    return () if names == tuple(map(str, range(len(names)))) else names


def _said(
    model: ClassifierModel | RegressorModel, sequences: Sequence[Any]
) -> list[dict[str, Any]]:
    """Return each answer as text, with the probabilities or the numbers behind it."""
    if isinstance(model, RegressorModel):
        values, _ = model.regress(sequences)
        numbers = [dict(zip(model.targets, row, strict=True)) for row in values.tolist()]
        return [
            {"predicted": ", ".join(f"{v:.4g}" for v in each.values()), "values": each}
            for each in numbers
        ]
    found = model.classify(sequences)
    separator = f"{model.config.data.labels.separator} "
    return [
        {
            "predicted": separator.join(label) or "(none)" if model.multi_label else label,
            "probabilities": dict(zip(model.classes, map(float, row), strict=True)),
        }
        for label, row in zip(found.labels, found.probabilities, strict=True)
    ]


def _translated(model: TranslatorModel, texts: Sequence[str], beam: int) -> list[dict[str, Any]]:
    found = model.translate(texts, beam=beam)
    return [
        {
            "word": text,
            "predicted": best.text,
            "source_tokens": best.source_units,
            "target_tokens": best.target_units,
            "weights": best.alignment,
        }
        for text, (best, *_) in zip(texts, found.answers, strict=True)
    ]
