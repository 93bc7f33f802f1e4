"""The estimators of one answer a sequence: texts or frames in, labels or numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from unrolled.config import DataSpec, LabelsSpec
from unrolled.data.examples import Examples, examples_of, label_sets
from unrolled.data.read import read_frame
from unrolled.data.table import Table
from unrolled.errors import DataError
from unrolled.runtime.model import ClassifierModel, RegressorModel
from unrolled.runtime.reading import check_frames
from unrolled.tasks import classify, regress
from unrolled.tasks.base import Estimator, Run
from unrolled.tasks.evaluate import evaluate_classifier, evaluate_regressor
from unrolled.tasks.inputs import Values, check_lengths, read_labels, read_texts, second
from unrolled.tasks.pooled import frames_spec


class Pooled(Estimator):
    """What the classifier and the regressor share: texts or frames, in any kind of container."""

    def _long(self, X: Any) -> bool:
        """Whether X is a data frame with a row a step."""
        named = any(self._params[name] for name in ("features", "sequence", "time"))
        return hasattr(type(X), "columns") and named

    def _inputs(self, X: Any, name: str) -> tuple[Sequence[Any], tuple[str, ...]]:
        """Return texts, or frames with the names of their columns."""
        if self._long(X):
            fitted = getattr(self, "artifact_", None)
            data = self._data(frames=True) if fitted is None else fitted.config.data
            found = examples_of(read_frame(X, name=name), data, answered=False)
            return found.inputs, found.features
        given = _arrays(X, name)
        if given is None:
            return read_texts(X, self._params["text"], name=name), ()
        masks = self._params["missing"] == "mask"
        width = given[0].shape[-1] if given[0].ndim == 2 else 0
        frames = [
            check_frames(each, width, f"{name}, sequence {i}", mask_missing=masks)
            for i, each in enumerate(given, start=1)
        ]
        return frames, tuple(map(str, range(width)))

    def _data(self, *, frames: bool) -> DataSpec:
        """Return how the parameters say that data is to be read."""
        options, _ = self._split_params()
        held = frames_spec(options) if frames else None
        if self.task == "regress":
            names = regress.target_names(options)
            return DataSpec(source=options.text, target=options.target, targets=names, frames=held)
        labels = LabelsSpec(several=options.multi_label, separator=options.label_separator)
        return DataSpec(source=options.text, target=options.label, labels=labels, frames=held)


def _arrays(X: Any, name: str) -> list[NDArray[Any]] | None:
    """Return X as arrays of frames, or None where it holds texts.

    Raises DataError for an array [N, T], which might mean either of two things.
    """
    if isinstance(X, np.ndarray) and X.dtype.kind in "fiub" and X.ndim > 1:
        if X.ndim != 3:
            raise DataError(
                f"{name}: X is {list(X.shape)}, expected [N, T, I]; where a step is one number "
                "give X[:, :, None], where a sequence is one step X[:, None, :]"
            )
        return list(X)
    if not isinstance(X, (list, tuple)) or not len(X):
        return None
    first = X[0]
    return list(X) if isinstance(first, np.ndarray) and first.dtype.kind in "fiub" else None


class Classifier(Pooled):
    """Classifier estimator: `fit(texts, labels)`, `predict(texts)`, `predict_proba(texts)`.

    Texts and labels are sequences, arrays, series, or data frames: of a frame with several columns
    those named by the parameters `text` and `label` are read, and y may be left out. In the place
    of texts X may be frames of numbers: arrays [T, I], one array [N, T, I], or, with the parameters
    `sequence`, `time` and `features`, a data frame with a row a step that holds the labels too.
    With `multi_label` a label is a list of them. Parameters are those of
    `unrolled.options.ClassifyOptions` and `unrolled.config.TrainSpec`. After `fit`: `classes_`,
    `model_` (the runtime model), `artifact_`.
    """

    task = "classify"
    _estimator_type = "classifier"

    def fit(
        self,
        X: Values,
        y: Values | None = None,
        *,
        validation: tuple[Values, Values] | None = None,
        run: Run | None = None,
    ) -> Self:
        """Train on texts, or frames, and labels. `validation` is used instead of a share held out.

        Raises DataError for a text or label that is empty, missing or NaN, and one class only.
        """
        options, training = self._split_params()
        self.__dict__.pop("artifact_", None)
        examples, originals = self._examples(X, y, "the training data")
        held = None
        if validation is not None:
            held, _ = self._examples(*validation, "the validation data")
        data = self._data(frames=bool(examples.features))
        self.artifact_ = classify.train(
            examples, options, training, validation=held, data=data, run=run
        )
        self.model_ = ClassifierModel.from_artifact(self.artifact_)
        self.classes_ = np.array([originals.get(name, name) for name in self.model_.classes])
        return self

    def predict(self, X: Values | str) -> Any:
        """Return the most probable label of each sequence, of the kind that `fit` was given.

        With `multi_label` a list of the labels of each.
        """
        probabilities = self.predict_proba(X)
        if self.model_.thresholds is not None:
            given = probabilities >= self.model_.thresholds
            return [self.classes_[row].tolist() for row in given]
        return self.classes_[probabilities.argmax(axis=1)]

    def predict_proba(self, X: Values | str) -> NDArray[Any]:
        """Return probabilities [N, C], the columns in the order of `classes_`."""
        self._fitted()
        return self.model_.predict_proba(
            self._inputs([X] if isinstance(X, str) else X, "the texts")[0]
        )

    def score(self, X: Values, y: Values | None = None) -> float:
        """Return the accuracy, or with `multi_label` micro F1."""
        self._fitted()
        examples, _ = self._examples(X, y, "the data")
        if self.model_.multi_label:
            return float(evaluate_classifier(self.model_, examples)["micro_f1"])
        said = self.model_.predict(examples.inputs)
        return float(np.mean([a == b for a, b in zip(said, examples.targets, strict=True)]))

    def _examples(self, X: Values, y: Values | None, name: str) -> tuple[Examples, dict[str, Any]]:
        if y is None and self._long(X):
            found = examples_of(read_frame(X, name=name), self._data(frames=True))
            return found, {}
        inputs, features = self._inputs(X, name)
        column = self._params["label"]
        given = second(X, y, column, name=name)
        originals: dict[str, Any] = {}
        labels: list[Any]
        if self._params["multi_label"]:
            cells = read_frame(given, [column]).column(column) if _framed(given) else list(given)
            listed = [each.tolist() if hasattr(each, "tolist") else each for each in cells]
            table = Table(name, {column: listed}, list(range(1, len(listed) + 1)))
            labels = [*label_sets(table, column, self._params["label_separator"])]
        else:
            texts, originals = read_labels(given, column, name=name)
            labels = [*texts]
        check_lengths(name, texts=list(inputs), labels=labels)
        return Examples(inputs, labels, name, features=features), originals


class Regressor(Pooled):
    """Regression estimator: `fit(texts, numbers)`, `predict(texts)`.

    X is as a `Classifier` takes it, y numbers [N] or [N, K]; of a data frame with several columns
    those named by the parameter `target` are read where y is left out. Parameters are those of
    `unrolled.options.RegressOptions` and `unrolled.config.TrainSpec`. After `fit`: `targets_`,
    `model_` (the runtime model), `artifact_`.
    """

    task = "regress"
    _estimator_type = "regressor"

    def fit(
        self,
        X: Values,
        y: Any = None,
        *,
        validation: tuple[Values, Any] | None = None,
        run: Run | None = None,
    ) -> Self:
        """Train on texts, or frames, and numbers. `validation` is used instead of a share held out.

        Raises DataError for a text that is empty and for a number that is missing or not finite.
        """
        options, training = self._split_params()
        self.__dict__.pop("artifact_", None)
        examples = self._examples(X, y, "the training data")
        held = None
        if validation is not None:
            held = self._examples(*validation, "the validation data")
        data = self._data(frames=bool(examples.features))
        self.artifact_ = regress.train(
            examples, options, training, validation=held, data=data, run=run
        )
        self.model_ = RegressorModel.from_artifact(self.artifact_)
        self.targets_ = self.model_.targets
        return self

    def predict(self, X: Values | str) -> NDArray[Any]:
        """Return the numbers of each sequence: [N], or [N, K] where there are several."""
        self._fitted()
        return self.model_.predict(self._inputs([X] if isinstance(X, str) else X, "the texts")[0])

    def score(self, X: Values, y: Any = None) -> float:
        """Return R2, the mean over the targets."""
        self._fitted()
        found = self._examples(X, y, "the data")
        return float(evaluate_regressor(self.model_, found)["r2"])

    def _examples(self, X: Values, y: Any, name: str) -> Examples:
        if y is None and hasattr(type(X), "columns"):
            return examples_of(read_frame(X, name=name), self._data(frames=self._long(X)))
        if y is None:
            raise DataError(f"{name}: y is missing; give it, or a data frame that holds both")
        inputs, features = self._inputs(X, name)
        values = _numbers(y, name)
        if len(values) != len(inputs):
            raise DataError(f"{name}: {len(inputs)} sequences but {len(values)} targets")
        return Examples(inputs, list(values), name, features=features)


def _framed(values: Any) -> bool:
    return hasattr(type(values), "columns")


def _numbers(y: Any, name: str) -> NDArray[np.float64]:
    """Return y as numbers [N, K]; DataError, naming the row, for one missing or not finite."""
    given = y.to_numpy() if hasattr(y, "to_numpy") else np.asarray(list(y))
    try:
        values = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{name}: expected y of numbers, [N] or [N, K]") from None
    if values.ndim not in (1, 2) or not len(values):
        raise DataError(f"{name}: y is {list(values.shape)}, expected numbers [N] or [N, K]")
    values = values.reshape(len(values), -1)
    if not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values).all(axis=1))[0, 0]) + 1
        raise DataError(f"{name}, row {row}: the target is missing or not finite")
    return values
