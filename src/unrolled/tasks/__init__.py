"""Whole tasks, from records to a trained model, as scikit-learn style estimators."""

from unrolled.tasks.classifier import Classifier, Regressor
from unrolled.tasks.forecaster import Forecaster
from unrolled.tasks.generator import Generator
from unrolled.tasks.tagger import Tagger
from unrolled.tasks.translate import Translator

__all__ = ["Classifier", "Forecaster", "Generator", "Regressor", "Tagger", "Translator"]
