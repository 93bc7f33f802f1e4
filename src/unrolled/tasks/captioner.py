"""The captioning estimator: vectors, regions or attributes in, texts out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from unrolled.data.captions import Described, attributes, check_alike, numbers, texts_of
from unrolled.errors import DataError
from unrolled.runtime.captioner_model import CaptionerModel
from unrolled.tasks.base import Estimator, Run
from unrolled.tasks.caption import train
from unrolled.tasks.evaluate import evaluate_captioner

Values = Iterable[Any]


class Captioner(Estimator):
    """Captioning estimator: `fit(things, texts)`, `predict(things)`.

    Things are an array [N, F], regions [N, S, F] or a list of arrays [S, F], or a list of
    attributes, an object of names and values or a list of names each. A thing has one text or a
    list of texts. Parameters are those of `unrolled.options.CaptionOptions` and
    `unrolled.config.TrainSpec`. After `fit`: `model_` (the runtime model) and `artifact_`.
    """

    task = "caption"

    def fit(
        self,
        X: Values,
        y: Values,
        *,
        validation: tuple[Values, Values] | None = None,
        run: Run | None = None,
    ) -> Self:
        """Train on things and their texts. `validation` is used instead of a share held out.

        Raises DataError, naming the row, for things of several kinds or widths, numbers that are
        not finite, and empty texts.
        """
        options, training = self._split_params()
        given = _described(X, y, "the training data")
        held = None if validation is None else _described(*validation, "the validation data")
        self.artifact_ = train(given, options, training, validation=held, run=run)
        self.model_ = CaptionerModel.from_artifact(self.artifact_)
        return self

    def predict(self, X: Values, *, beam: int | None = None) -> list[str]:
        """Return the best text for each thing."""
        self._fitted()
        return self.model_.predict(X, beam=self._params["beam"] if beam is None else beam)

    def score(self, X: Values, y: Values) -> float:
        """Return the share of things whose answer is exactly one of their texts."""
        self._fitted()
        metrics = evaluate_captioner(
            self.model_, _described(X, y, "the data"), beam=self._params["beam"], with_bleu=False
        )
        return 1.0 - float(metrics["wer"])


def _described(X: Values, y: Values, name: str) -> Described:
    inputs: list[Any] = []
    kinds: list[Any] = []
    for i, given in enumerate(X, start=1):
        where = f"{name}, row {i}"
        named = isinstance(given, Sequence) and any(isinstance(each, str) for each in given)
        if named or isinstance(given, Mapping):
            inputs.append(attributes(given, where))
            kinds.append("attributes")
        else:
            array, kind = numbers(given, where)
            inputs.append(array)
            kinds.append(kind)
    if not inputs:
        raise DataError(f"{name}: no rows; expected at least two")
    check_alike(inputs, kinds, lambda i: f"{name}, row {i + 1}")
    given_texts = [t.tolist() if isinstance(t, np.ndarray) else t for t in y]
    if len(given_texts) != len(inputs):
        raise DataError(f"{name}: {len(inputs)} things but {len(given_texts)} texts")
    found = [texts_of(text, f"{name}, row {i}") for i, text in enumerate(given_texts, start=1)]
    return Described(name, kinds[0], inputs, found)
