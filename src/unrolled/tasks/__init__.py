"""Whole tasks: from records to a trained model. The estimators follow scikit-learn's conventions."""

from unrolled.tasks.classify import Classifier
from unrolled.tasks.translate import Translator

__all__ = ["Classifier", "Translator"]
