"""The tagging estimator: sentences or frames in, a tag a step out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from unrolled.data.frames import frames_of_table
from unrolled.data.read import read_frame
from unrolled.data.sequences import Sequences, check_alike, from_frames, units
from unrolled.data.table import Table
from unrolled.errors import DataError
from unrolled.options import TagOptions
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

        Lists of tags beside a data frame with a row a step are in the order in which its sequences
        begin, and the tags of one in the order of `time`.
        `intents` are the labels of whole sentences, where the parameter `intent` is set.
        `validation` is (X, y) or (X, y, intents), used instead of a share held out. Raises
        DataError for a sequence that is empty or has not as many tags as steps.
        """
        options, training = self._split_params()
        given = self._sequences(X, y, intents, "the training data")
        held = None
        if validation is not None:
            X, y, intents = (*validation, None)[:3]
            names = given.features or None
            held = self._sequences(X, y, intents, "the validation data", features=names)
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
        names = self.model_.tagging.features or None
        found = self._sequences(X, y, None, "the data", scored=True, features=names)
        return float(evaluate_tagger(self.model_, found)["accuracy"])

    def _sequences(
        self,
        X: Values,
        y: Values | None,
        intents: Sequence[str] | None,
        name: str,
        *,
        scored: bool = False,
        features: Sequence[str] | None = None,
    ) -> Sequences:
        """Return sequences with their tags; of a frame with a row a step `features` are read."""
        key = "" if scored else self._params["intent"]
        read = key if intents is None else ""
        found = self._framed(X, name, tagged=y is None, intent=read, features=features)
        framed = found is not None
        if found is None:
            found = self._listed(X, name)
        if y is not None or not framed:
            if y is None and not hasattr(type(X), "columns"):
                raise DataError(f"{name}: y is missing; give it, or a data frame that holds both")
            column = self._params["column"]
            tags = self._column(X if y is None else y, "tags" if column == "auto" else column, name)
            if len(found) != len(tags):
                raise DataError(f"{name}: {len(found)} sequences but {len(tags)} lists of tags")
            check_alike(found.inputs, tags, found.where)
            found = replace(found, tags=tags)
        if key and not (framed and read):
            found = replace(found, intents=self._intents(X, intents, key, name, len(found)))
        return found

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
        found = self._framed(X, name, features=self.model_.tagging.features or None)
        return list((self._listed(X, name) if found is None else found).inputs)

    def _listed(self, X: Values, name: str) -> Sequences:
        """Return sentences of a list or of a data frame's column, or the frames of a list."""
        if not hasattr(type(X), "columns"):
            X = list(X)
            if X and isinstance(X[0], np.ndarray) and X[0].dtype.kind in "fiu":
                inputs = [_frames(each, f"{name}, row {i}") for i, each in enumerate(X, start=1)]
                features = tuple(str(k) for k in range(inputs[0].shape[1]))
                return Sequences(name, inputs, features=features)
        return Sequences(name, self._column(X, self._params["words"], name))

    def _framed(
        self,
        X: Any,
        name: str,
        *,
        tagged: bool = False,
        intent: str = "",
        features: Sequence[str] | None = None,
    ) -> Sequences | None:
        """Return the frames of a data frame that has a row a step; None for anything else."""
        params = self._params
        if not hasattr(type(X), "columns") or params["words"] in X.columns:
            return None
        if params["sequence"] not in X.columns:
            return None
        label = "y" if params["column"] == "auto" else params["column"]
        time = params["time"]
        unordered = time == TagOptions().time and time not in X.columns
        table = read_frame(X, name=name)
        if features is None:
            # An answer that is given apart is no feature, though the frame holds it too.
            apart = {"" if tagged else label, params["intent"] if not intent else ""}
            columns = {key: each for key, each in table.columns.items() if key not in apart - {""}}
            table = replace(table, columns=columns)
        frames = frames_of_table(
            table,
            label=label if tagged else None,
            intent=intent,
            sequence=params["sequence"],
            time="" if unordered else time,
            features=features,
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
