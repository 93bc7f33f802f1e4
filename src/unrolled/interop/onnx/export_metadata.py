"""What a caller of an exported file needs beside the numbers, as text in its metadata."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np

from unrolled.interop.onnx.export_covariates import input_notes
from unrolled.interop.onnx.export_forecaster import quantile_shares
from unrolled.runtime.captioner_model import CaptionerModel
from unrolled.runtime.forecaster_model import ForecastModel
from unrolled.runtime.generator import GeneratorNetwork
from unrolled.runtime.generator_model import GeneratorModel
from unrolled.runtime.model import ClassifierModel, RegressorModel, TranslatorModel
from unrolled.runtime.recurrent import Recurrent
from unrolled.runtime.tagger_model import TaggerModel

# Where a model keeps its vocabularies, by the name that each has in the file.
_VOCABULARIES: dict[type, dict[str, str]] = {
    ClassifierModel: {"source": "vocabulary", "target": "labels"},
    RegressorModel: {"source": "vocabulary"},
    TranslatorModel: {"source": "source_vocabulary", "target": "target_vocabulary"},
    TaggerModel: {
        "source": "vocabulary",
        "target": "labels",
        "characters": "characters",
        "intent": "intent_labels",
    },
    GeneratorModel: {"source": "vocabulary"},
    CaptionerModel: {"source": "source_vocabulary", "target": "target_vocabulary"},
    ForecastModel: {},
}


def metadata(model: Any, part: str, inputs: Iterable[str] = ()) -> dict[str, str]:
    """Return task, fingerprint, vocabularies and what else a task's caller needs; else the spec.

    Of a forecaster's `inputs` also what lies in each.
    """
    if type(model) not in _VOCABULARIES:
        return {"part": part, "spec": _json(model.spec), **_first(model)}
    found = {
        "part": part,
        "task": model.config.task,
        "fingerprint": model.config.fingerprint,
    }
    for role, name in _VOCABULARIES[type(model)].items():
        vocabulary = getattr(model, name)
        if vocabulary is not None:
            found[f"vocabulary.{role}"] = vocabulary.to_json().decode()
    if isinstance(model, GeneratorModel):
        found["generation"] = _json(model.generation)
    if isinstance(model, ForecastModel):
        found["forecasting"] = _json(model.forecasting)
        found["network"] = _json(model.network.spec)
        found["inputs"] = _json(input_notes(model, inputs))
        if quantile_shares(model):
            found["quantiles"] = _json(quantile_shares(model))
    return found | _first(getattr(model, "network", model))


def _first(network: Any) -> dict[str, str]:
    """Return a stream's learned first states, a list of numbers a layer."""
    if not isinstance(network, (GeneratorNetwork, Recurrent)):
        return {}
    layer = network.recurrent if isinstance(network, GeneratorNetwork) else network
    if layer.spec.initial_state != "learned":
        return {}
    return {
        f"first.{name}": _json(np.asarray(layer.weights[name], np.float64).tolist())
        for name in sorted(layer.weights)
        if name.startswith(("h0", "c0"))
    }


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
