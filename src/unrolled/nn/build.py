"""From a network spec to a module to train."""

from __future__ import annotations

from unrolled.nn.forecaster import Forecaster
from unrolled.nn.generator import Generator
from unrolled.nn.heads import Classifier, Regressor
from unrolled.nn.tagger import Tagger
from unrolled.nn.translator import Translator
from unrolled.spec import (
    ClassifierSpec,
    Engine,
    ForecasterSpec,
    GeneratorSpec,
    NetworkSpec,
    RegressorSpec,
    TaggerSpec,
)

Network = Classifier | Regressor | Translator | Tagger | Generator | Forecaster


def build(spec: NetworkSpec, *, engine: Engine = "auto") -> Network:
    """Return the module that `spec` names, its weights fresh.

    Raises ConfigError where the spec's sizes do not fit together.
    """
    if isinstance(spec, ClassifierSpec):
        return Classifier(spec, engine=engine)
    if isinstance(spec, RegressorSpec):
        return Regressor(spec, engine=engine)
    if isinstance(spec, TaggerSpec):
        return Tagger(spec, engine=engine)
    if isinstance(spec, GeneratorSpec):
        return Generator(spec, engine=engine)
    if isinstance(spec, ForecasterSpec):
        return Forecaster(spec, engine=engine)
    return Translator(spec, engine=engine)
