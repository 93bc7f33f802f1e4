"""The generator estimator: sequences in, what comes next out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from unrolled.data.items import Corpus, check_frames
from unrolled.data.streams import text_lines
from unrolled.errors import DataError
from unrolled.runtime.generator_model import GeneratorModel, Recommended
from unrolled.tasks.base import Estimator, Run
from unrolled.tasks.generate import train_sequences, train_text


class Generator(Estimator):
    """Autoregressive estimator: `fit(X)`, `generate(prompt)`, `recommend(history)`.

    X is one text, a list of lists of items, or a list of arrays [T, I] of 0 and 1. Parameters are
    those of `unrolled.options.GenerateOptions` and `unrolled.config.TrainSpec`. After `fit`:
    `model_` (the runtime model), `artifact_`.
    """

    task = "generate"

    def fit(
        self, X: Any, y: None = None, *, validation: Any = None, run: Run | None = None
    ) -> Self:
        """Train on a text or on sequences; `validation` is of the same kind as X.

        Raises DataError for what is neither, and for values that do not fit.
        """
        options, training = self._split_params()
        if isinstance(X, str):
            held = None if validation is None else text_lines(validation)
            self.artifact_ = train_text(text_lines(X), options, training, validation=held, run=run)
        else:
            given = _corpus(X, "the training data")
            frames = isinstance(given.sequences[0], np.ndarray)
            kept = None if validation is None else _corpus(validation, "the validation data")
            self.artifact_ = train_sequences(
                given, "frames" if frames else "items", options, training, validation=kept, run=run
            )
        self.model_ = GeneratorModel.from_artifact(self.artifact_)
        return self

    def generate(self, prompt: Any = "", **choices: Any) -> list[Any]:
        """Return continuations of a prompt; see `GeneratorModel.generate`."""
        self._fitted()
        return self.model_.generate(prompt, **choices)

    def recommend(self, history: Sequence[Any], k: int = 10, **choices: Any) -> Recommended:
        """Return the items most likely to follow a history; see `GeneratorModel.recommend`."""
        self._fitted()
        return self.model_.recommend(history, k, **choices)

    def score(self, X: Any, y: None = None) -> float:
        """Return the mean log-likelihood of a sequence of X in nats; a text is one sequence."""
        self._fitted()
        return float(self.model_.log_likelihood(X).mean())


def _corpus(X: Any, name: str) -> Corpus:
    if isinstance(X, (bytes, bytearray)):
        raise DataError(f"{name}: bytes; expected a text, or a list of lists of items or of arrays")
    sequences = list(X)
    if not sequences:
        raise DataError(f"{name}: no sequences")
    if isinstance(sequences[0], np.ndarray) and sequences[0].ndim == 2:
        return Corpus(name, check_frames(sequences, name))
    for i, items in enumerate(sequences, start=1):
        if isinstance(items, str) or not hasattr(items, "__len__") or not len(items):
            raise DataError(f"{name}, sequence {i}: expected a list of one item or more")
    return Corpus(name, [[str(item) for item in items] for items in sequences])
