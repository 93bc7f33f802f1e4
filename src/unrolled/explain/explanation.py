"""From a loaded model and texts to what the report shows of them. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unrolled.runtime.model import ClassifierModel, TranslatorModel


def examples_of(
    model: ClassifierModel | TranslatorModel, texts: Sequence[str], *, beam: int = 1
) -> list[dict[str, Any]]:
    """Answer each text and return the answers with the attention behind them.

    The keys are those of `report.translation_report` and `report.classification_report`.
    """
    if isinstance(model, ClassifierModel):
        return _classified(model, texts)
    return _translated(model, texts, beam)


def _classified(model: ClassifierModel, texts: Sequence[str]) -> list[dict[str, Any]]:
    found = model.classify(texts)
    attended = None
    if model.network.pooling is not None:
        attended = model.attention(texts)
    return [
        {
            "text": text,
            "tokens": model.units(text) if attended is None else attended[row].units,
            "weights": None if attended is None else attended[row].weights,
            "predicted": found.labels[row],
            "probabilities": dict(
                zip(model.classes, map(float, found.probabilities[row]), strict=True)
            ),
        }
        for row, text in enumerate(texts)
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
