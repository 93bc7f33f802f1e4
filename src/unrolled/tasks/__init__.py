"""Whole tasks, from records to a trained model, as scikit-learn style estimators."""

from unrolled.tasks.classify import Classifier
from unrolled.tasks.forecaster import Forecaster
from unrolled.tasks.tagger import Tagger
from unrolled.tasks.translate import Translator

__all__ = ["Classifier", "Forecaster", "Tagger", "Translator"]
