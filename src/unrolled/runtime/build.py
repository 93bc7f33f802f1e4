"""From a network spec and its weights to a network that infers."""

from __future__ import annotations

from unrolled.runtime.forecaster import ForecasterNetwork
from unrolled.runtime.heads import ClassifierNetwork
from unrolled.runtime.networks import TranslatorNetwork
from unrolled.runtime.tagger import TaggerNetwork
from unrolled.runtime.weights import Weights
from unrolled.spec import ClassifierSpec, ForecasterSpec, NetworkSpec, TaggerSpec


def build(
    spec: NetworkSpec, weights: Weights
) -> ClassifierNetwork | TranslatorNetwork | TaggerNetwork | ForecasterNetwork:
    """Return the network that `spec` names over `weights`, whose names are those of `unrolled.nn`.

    Raises ConfigError for a spec whose sizes do not fit, ModelError for a weight that is missing or
    has another shape.
    """
    if isinstance(spec, ClassifierSpec):
        return ClassifierNetwork(spec, weights)
    if isinstance(spec, TaggerSpec):
        return TaggerNetwork(spec, weights)
    if isinstance(spec, ForecasterSpec):
        return ForecasterNetwork(spec, weights)
    return TranslatorNetwork(spec, weights)
