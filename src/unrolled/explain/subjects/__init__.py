"""One adapter a task: from a model and an input to a `Subject`. A new task adds two lines here."""

from __future__ import annotations

from typing import Any

from unrolled.errors import ConfigError, ModelError
from unrolled.explain.subject import Reader, Stack, Subject
from unrolled.explain.subjects import caption, forecast, generate, pooled, tag, translate
from unrolled.runtime.captioner_model import CaptionerModel
from unrolled.runtime.forecaster_model import ForecastModel
from unrolled.runtime.generator_model import GeneratorModel
from unrolled.runtime.model import ClassifierModel, RegressorModel, TranslatorModel
from unrolled.runtime.tagger_model import TaggerModel

ADAPTERS: dict[type, Any] = {
    ClassifierModel: pooled.subject,
    RegressorModel: pooled.subject,
    TaggerModel: tag.subject,
    TranslatorModel: translate.subject,
    GeneratorModel: generate.subject,
    ForecastModel: forecast.subject,
    CaptionerModel: caption.subject,
}

READERS: dict[type, Any] = {
    ClassifierModel: pooled.reader,
    RegressorModel: pooled.reader,
    TaggerModel: tag.reader,
    TranslatorModel: translate.reader,
    GeneratorModel: generate.reader,
    ForecastModel: forecast.reader,
    CaptionerModel: caption.reader,
}


def stack_of(model: Any, stack: Stack | None = None) -> Reader:
    """Return the recurrent stack that reads a model's inputs, and what maps an input to its steps.

    A captioner's is the decoder, which reads what it wrote; of a translator `stack` chooses, by
    default the encoder. Raises ModelError for a model whose inputs no stack reads step by step.
    """
    find = READERS.get(type(model))
    if find is None:
        raise ModelError(f"no recurrent stack reads the inputs of a {type(model).__name__}")
    found: Reader = find(model, **_choice(model, stack))
    return found


def subject_of(
    model: Any, x: Any, target: str | None = None, stack: Stack | None = None
) -> Subject:
    """Return what explains the answer of `model` to `x`; ModelError for what is no model.

    `stack` is whose states and memory a translator shows, by default the encoder's. Raises
    ConfigError where it is given for another model.
    """
    adapter = ADAPTERS.get(type(model))
    if adapter is None:
        raise ModelError(f"a {type(model).__name__} cannot be explained")
    found: Subject = adapter(model, x, target, **_choice(model, stack))
    return found


def _choice(model: Any, stack: Stack | None) -> dict[str, Stack]:
    if stack is None:
        return {}
    if stack not in ("encoder", "decoder"):
        raise ConfigError(f"stack {stack!r}: expected encoder or decoder")
    if not isinstance(model, TranslatorModel):
        raise ConfigError(f"stack {stack!r}: only a translator has an encoder and a decoder")
    return {"stack": stack}
