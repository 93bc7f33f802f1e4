"""From a network spec and its weights to a network that infers."""

from __future__ import annotations

from unrolled.runtime.forecaster import ForecasterNetwork
from unrolled.runtime.generator import GeneratorNetwork
from unrolled.runtime.heads import ClassifierNetwork, RegressorNetwork
from unrolled.runtime.networks import TranslatorNetwork
from unrolled.runtime.tagger import TaggerNetwork
from unrolled.runtime.weights import Weights
from unrolled.spec import (
    ClassifierSpec,
    ForecasterSpec,
    GeneratorSpec,
    NetworkSpec,
    RegressorSpec,
    TaggerSpec,
)

Network = (
    ClassifierNetwork
    | RegressorNetwork
    | TranslatorNetwork
    | TaggerNetwork
    | GeneratorNetwork
    | ForecasterNetwork
)


def build(spec: NetworkSpec, weights: Weights) -> Network:
    """Return the network that `spec` names over `weights`, whose names are those of `unrolled.nn`.

    Raises ConfigError for a spec whose sizes do not fit, ModelError for a weight that is missing or
    has another shape.
    """
    if isinstance(spec, ClassifierSpec):
        return ClassifierNetwork(spec, weights)
    if isinstance(spec, RegressorSpec):
        return RegressorNetwork(spec, weights)
    if isinstance(spec, TaggerSpec):
        return TaggerNetwork(spec, weights)
    if isinstance(spec, GeneratorSpec):
        return GeneratorNetwork(spec, weights)
    if isinstance(spec, ForecasterSpec):
        return ForecasterNetwork(spec, weights)
    return TranslatorNetwork(spec, weights)
