"""One adapter a task: from a model and an input to a `Subject`. A new task adds a line here."""

from __future__ import annotations

from typing import Any

from unrolled.errors import ModelError
from unrolled.explain.subject import Subject
from unrolled.explain.subjects import classify, tag, translate
from unrolled.runtime.model import ClassifierModel, TranslatorModel
from unrolled.runtime.tagger_model import TaggerModel

ADAPTERS: dict[type, Any] = {
    ClassifierModel: classify.subject,
    TaggerModel: tag.subject,
    TranslatorModel: translate.subject,
}


def subject_of(model: Any, x: Any, target: str | None = None) -> Subject:
    """Return what explains the answer of `model` to `x`; ModelError for a task without adapter."""
    adapter = ADAPTERS.get(type(model))
    if adapter is None:
        raise ModelError(f"a {type(model).__name__} cannot be explained yet")
    found: Subject = adapter(model, x, target)
    return found
