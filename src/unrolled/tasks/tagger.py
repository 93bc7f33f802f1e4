"""The tagging estimator: sentences or frames in, a tag a step out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from unrolled.data.frames import frames_of_table
from unrolled.data.read import read_frame
from unrolled.data.sequences import Sequences, check_alike, from_frames, units
from unrolled.data.table import Table
from unrolled.errors import DataError
from unrolled.runtime.tagger_model import TaggerModel
from unrolled.tasks.base import Estimator, Run
from unrolled.tasks.evaluate import evaluate_tagger
from unrolled.tasks.tag import train

Values = Iterable[Any]


class Tagger(Estimator):
    """Sequence tagging estimator: `fit(sentences, tags)`, `predict(sentences)`.

    A sentence is a list of words, or a text that is split at white space; a sequence of frames is
    an array [T, I]. Tags are a list each. X may be a data frame whose columns `words` and `column`
    (where that is `auto`: tags), and the one that `intent` names, hold the lists; or one of frames
    with a row a step, as in Parquet: the columns `sequence`, `time` and `column` (where that is
    `auto`: y), and numbers in all others. Parameters are
    those of `unrolled.options.TagOptions` and `unrolled.config.TrainSpec`. After `fit`: `tags_`,
    `intents_`, `model_` (the runtime model), `artifact_`.
    """

    task = "tag"

    def fit(
        self,
        X: Values,
        y: Values | None = None,
        *,
        intents: Sequence[str] | None = None,
        validation: tuple[Any, ...] | None = None,
        run: Run | None = None,
    ) -> Self:
        """Train on sentences or frames and their tags.

        `intents` are the labels of whole sentences, where the parameter `intent` is set.
        `validation` is (X, y) or (X, y, intents), used instead of a share held out. Raises
        DataError for a sequence that is empty or has not as many tags as steps.
        """
        options, training = self._split_params()
        given = self._sequences(X, y, intents, "the training data")
        held = None
        if validation is not None:
            parts = (*validation, None)[:3]
            held = self._sequences(parts[0], parts[1], parts[2], "the validation data")
        self.artifact_ = train(given, options, training, validation=held, run=run)
        self.model_ = TaggerModel.from_artifact(self.artifact_)
        self.tags_ = np.array(self.model_.tags)
        self.intents_ = np.array(self.model_.intents)
        return self

    def predict(self, X: Values | str) -> list[list[str]]:
        """Return the best tags of each sequence."""
        self._fitted()
        return self.model_.predict(self._inputs(X, "the sequences"))

    def predict_proba(self, X: Values | str) -> list[NDArray[Any]]:
        """Return the marginals p(tag at t | x) of each sequence, [T, K]; columns as in `tags_`."""
        self._fitted()
        return self.model_.predict_proba(self._inputs(X, "the sequences"))

    def predict_intent(self, X: Values | str) -> list[str]:
        """Return the label of each whole sequence; DataError where none was learned."""
        self._fitted()
        found = self.model_.tag(self._inputs(X, "the sequences")).intents
        if found is None:
            raise DataError("this Tagger has no intent; set the parameter intent and fit again")
        return [intent.label for intent in found]

    def score(self, X: Values, y: Values | None = None) -> float:
        """Return the share of steps whose tag is right."""
        self._fitted()
        found = self._sequences(X, y, None, "the data", scored=True)
        return float(evaluate_tagger(self.model_, found)["accuracy"])

    def _sequences(
        self,
        X: Values,
        y: Values | None,
        intents: Sequence[str] | None,
        name: str,
        *,
        scored: bool = False,
    ) -> Sequences:
        if y is None and (found := self._framed(X, name, tagged=True, scored=scored)):
            return found
        column = self._params["column"]
        tags_column = "tags" if column == "auto" else column
        inputs = self._inputs(X, name)
        if y is None and not hasattr(type(X), "columns"):
            raise DataError(f"{name}: y is missing; give it, or a data frame that holds both")
        tags = self._column(X if y is None else y, tags_column, name)
        if len(inputs) != len(tags):
            raise DataError(f"{name}: {len(inputs)} sequences but {len(tags)} lists of tags")
        check_alike(inputs, tags, lambda i: f"{name}, row {i + 1}")
        labels: list[str] = []
        key = self._params["intent"]
        if key and not scored:
            labels = self._intents(X, intents, key, name, len(inputs))
        features: tuple[str, ...] = ()
        if inputs and isinstance(inputs[0], np.ndarray):
            features = tuple(str(k) for k in range(inputs[0].shape[1]))
        return Sequences(name, inputs, tags, labels, features=features)

    def _intents(
        self, X: Values, intents: Sequence[str] | None, key: str, name: str, count: int
    ) -> list[str]:
        if intents is None:
            if not hasattr(type(X), "columns"):
                raise DataError(
                    f"{name}: intents are missing; give them, or a data frame with {key!r}"
                )
            intents = read_frame(X, [key], name=name).column(key)
        found = [str(intent) for intent in intents]
        if len(found) != count:
            raise DataError(f"{name}: {count} sequences but {len(found)} intents")
        return found

    def _inputs(self, X: Values | str, name: str) -> list[Any]:
        if isinstance(X, str):
            return [X.split()]
        if found := self._framed(X, name, tagged=False):
            return list(found.inputs)
        if not hasattr(type(X), "columns"):
            X = list(X)
            if X and isinstance(X[0], np.ndarray) and X[0].dtype.kind in "fiu":
                return [_frames(each, f"{name}, row {i}") for i, each in enumerate(X, start=1)]
        return self._column(X, self._params["words"], name)

    def _framed(self, X: Any, name: str, *, tagged: bool, scored: bool = False) -> Sequences | None:
        """Return the frames of a data frame that has a row a step; None for anything else."""
        params = self._params
        if not hasattr(type(X), "columns") or params["words"] in X.columns:
            return None
        if params["sequence"] not in X.columns:
            return None
        model: TaggerModel | None = getattr(self, "model_", None)
        learned = model.tagging.features if model and (scored or not tagged) else None
        column = "y" if params["column"] == "auto" else params["column"]
        frames = frames_of_table(
            read_frame(X, name=name),
            label=column if tagged else None,
            intent=params["intent"] if tagged and not scored else "",
            sequence=params["sequence"],
            time=params["time"] if params["time"] in X.columns else "",
            features=learned,
        )
        return from_frames(frames, name)

    def _column(self, values: Values, column: str, name: str) -> list[list[str]]:
        """Return lists of strings from a column of a data frame, or from any sequence of them."""
        if hasattr(type(values), "columns"):
            table = read_frame(values, [column], name=name)
            cells = table.column(column)
        else:
            cells = list(values)
        listed = [each.tolist() if hasattr(each, "tolist") else each for each in cells]
        return units(Table(name, {column: listed}, list(range(1, len(listed) + 1))), column)


def _frames(given: Any, where: str) -> NDArray[np.float32]:
    frames = np.asarray(given, dtype=np.float32)
    if frames.ndim != 2 or not frames.size:
        raise DataError(f"{where}: expected frames [T, I], got {list(frames.shape)}")
    if not np.isfinite(frames).all():
        raise DataError(f"{where}: holds a value that is missing or not finite")
    return frames
