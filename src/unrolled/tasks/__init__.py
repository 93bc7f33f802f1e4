"""Whole tasks, from records to a trained model, as scikit-learn style estimators."""

from unrolled.tasks.captioner import Captioner
from unrolled.tasks.classifier import Classifier, Regressor
from unrolled.tasks.tagger import Tagger
from unrolled.tasks.translate import Translator

__all__ = ["Captioner", "Classifier", "Regressor", "Tagger", "Translator"]
