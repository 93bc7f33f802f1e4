"""The estimators: scikit-learn's manners, any kind of column, and errors that name the place."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import polars
import pytest
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV, cross_val_score

import tiny
import unrolled
from unrolled.errors import ConfigError, DataError, ModelError, UnrolledError
from unrolled.tasks import Classifier, Translator
from unrolled.tasks.base import Run

TEXTS, LABELS = tiny.reviews()
SOURCES, TARGETS = tiny.words()


def classifier(**choices: Any) -> Classifier:
    return Classifier(**{**tiny.SMALL, "lr": 0.02, "epochs": 4, **choices})


def translator(**choices: Any) -> Translator:
    return Translator(**{**tiny.SMALL, **choices})


@pytest.fixture(scope="module")
def fitted() -> Classifier:
    return classifier().fit(TEXTS, LABELS)


@pytest.fixture(scope="module")
def fitted_translator() -> Translator:
    return translator().fit(SOURCES, TARGETS)


# Parameters


@pytest.mark.parametrize("kind", [Classifier, Translator])
def test_every_option_and_training_key_is_a_parameter(kind: type) -> None:
    parameters = kind().get_params()
    assert {"cell", "hidden_size", "epochs", "lr", "seed", "max_length"} <= parameters.keys()
    assert kind(**parameters).get_params() == parameters


def test_set_params_changes_and_returns_the_estimator() -> None:
    estimator = classifier()
    assert estimator.set_params(cell="lstm", lr=0.5) is estimator
    assert estimator.get_params()["cell"] == "lstm"
    assert estimator.get_params(deep=False)["lr"] == 0.5


def test_repr_shows_what_differs_from_the_defaults() -> None:
    assert repr(Classifier(cell="lstm")) == "Classifier(cell='lstm')"


@pytest.mark.parametrize("give", [lambda **p: Classifier(**p), Classifier().set_params])
def test_an_unknown_parameter_asks_did_you_mean(give: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        give(hiden_size=3)
    assert str(caught.value) == (
        "Classifier: unknown parameter 'hiden_size'. Did you mean 'hidden_size'?"
    )


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"epochs": 0}, "Classifier: epochs = 0: Expected int >= 1"),
        ({"lr": "fast"}, "Classifier: lr = 'fast': Expected float, got str"),
        ({"cell": "grue"}, "Classifier: cell = 'grue': not one of the known values: 'grue'"),
        ({"dropout": 1.0}, "Classifier: dropout = 1.0: Expected float < 1.0"),
    ],
)
def test_a_value_out_of_range_is_told_at_fit(choices: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        classifier(**choices).fit(TEXTS, LABELS)
    assert str(caught.value) == message


def test_numbers_of_numpy_are_numbers() -> None:
    classifier(hidden_size=np.int64(4), lr=np.float32(0.01), epochs=1).fit(TEXTS, LABELS)


# What comes out


def test_fit_returns_the_estimator_and_learns(fitted: Classifier) -> None:
    assert fitted.score(TEXTS, LABELS) == 1.0
    assert fitted.classes_.tolist() == ["down", "up"]


def test_probabilities_belong_to_the_classes(fitted: Classifier) -> None:
    probabilities = fitted.predict_proba(TEXTS)
    assert probabilities.shape == (40, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)
    assert fitted.predict(TEXTS).tolist() == [("down", "up")[k] for k in probabilities.argmax(1)]


@pytest.mark.parametrize(
    "kinds", [(0, 1), (-1, 1), (False, True), (1.5, 2.5), ("no", "yes"), (10, 9)]
)
def test_labels_come_back_as_they_were_given(kinds: tuple[Any, Any]) -> None:
    labels = [kinds[i % 2] for i in range(40)]
    estimator = classifier().fit(TEXTS, labels)
    said = estimator.predict(TEXTS)
    assert said.tolist() == labels
    assert type(said[0].item()) is type(kinds[0])
    assert estimator.classes_.tolist() == sorted(kinds)
    assert estimator.score(TEXTS, labels) == 1.0


def test_one_text_is_one_answer(fitted: Classifier, fitted_translator: Translator) -> None:
    assert fitted.predict("good film").shape == (1,)
    assert len(fitted_translator.predict("ab")) == 1


def test_a_translator_answers_and_scores(fitted_translator: Translator) -> None:
    answers = fitted_translator.predict(SOURCES)
    right = np.mean([a == b for a, b in zip(answers, TARGETS, strict=True)])
    assert fitted_translator.score(SOURCES, TARGETS) == pytest.approx(right)
    assert len(fitted_translator.predict(SOURCES, beam=3)) == 40
    assert len(fitted_translator.predict([])) == 0


def test_attention_none_leaves_the_fixed_context_vector() -> None:
    model = translator(attention=None, epochs=1).fit(SOURCES, TARGETS).model_
    assert model.config.network.attention is None
    assert model.translate(["ab"]).answers[0][0].alignment is None


def test_validation_data_of_your_own_is_what_is_measured() -> None:
    estimator = classifier(epochs=1)
    estimator.fit(TEXTS, LABELS, validation=(TEXTS[:10], LABELS[:10]))
    assert estimator.artifact_.metrics["accuracy"] * 10 == pytest.approx(
        10 * estimator.score(TEXTS[:10], LABELS[:10])
    )


# Folders


def test_save_then_load_gives_equal_answers(
    fitted: Classifier, fitted_translator: Translator, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "a")
    model = unrolled.load(tmp_path / "a")
    np.testing.assert_array_equal(model.predict_proba(TEXTS), fitted.predict_proba(TEXTS))
    fitted_translator.save(tmp_path / "b")
    assert unrolled.load(tmp_path / "b").predict(SOURCES) == fitted_translator.predict(SOURCES)


def test_save_refuses_another_models_folder(fitted: Classifier, tmp_path: Path) -> None:
    fitted.save(tmp_path / "a")
    with pytest.raises(ModelError, match="holds another model"):
        fitted.save(tmp_path / "a")
    fitted.save(tmp_path / "a", overwrite=True)


def test_fit_into_a_folder_and_resume(tmp_path: Path) -> None:
    first = classifier().fit(TEXTS, LABELS, run=Run(tmp_path / "m"))
    again = classifier().fit(TEXTS, LABELS, run=Run(tmp_path / "m", resume=True))
    np.testing.assert_array_equal(first.predict_proba(TEXTS), again.predict_proba(TEXTS))


@pytest.mark.parametrize("kind", [Classifier, Translator])
def test_what_is_not_fitted_says_so(kind: type, tmp_path: Path) -> None:
    for use in (
        lambda: kind().predict(TEXTS),
        lambda: kind().score(TEXTS, LABELS),
        lambda: kind().save(tmp_path / "m"),
    ):
        with pytest.raises(UnrolledError, match=f"this {kind.__name__} is not fitted yet"):
            use()


# Any kind of column


@pytest.mark.parametrize(
    "column",
    [list, tuple, np.array, pandas.Series, polars.Series, iter],
    ids=["list", "tuple", "array", "pandas", "polars", "iterator"],
)
def test_columns_of_any_kind_are_the_same_data(column: Any, fitted: Classifier) -> None:
    estimator = classifier().fit(column(TEXTS), column(LABELS))
    np.testing.assert_array_equal(estimator.predict_proba(TEXTS), fitted.predict_proba(TEXTS))
    assert estimator.score(column(TEXTS), column(LABELS)) == 1.0


FRAMES = [pandas.DataFrame, polars.DataFrame, polars.LazyFrame]


@pytest.mark.parametrize("frame", FRAMES)
def test_a_data_frame_holds_text_and_label(frame: Any, fitted: Classifier) -> None:
    data = frame({"id": range(40), "review": TEXTS, "stars": LABELS})
    estimator = classifier(text="review", label="stars").fit(data)
    np.testing.assert_array_equal(estimator.predict_proba(data), fitted.predict_proba(TEXTS))
    assert estimator.score(data) == 1.0
    assert estimator.model_.config.data.source == "review"


@pytest.mark.parametrize("frame", FRAMES[:2])
def test_a_frame_of_one_column_needs_no_name(frame: Any) -> None:
    data = frame({"whatever": TEXTS})
    estimator = classifier().fit(data, frame({"y": LABELS}))
    assert estimator.score(data, LABELS) == 1.0


def test_a_frame_of_pairs_for_the_translator(fitted_translator: Translator) -> None:
    data = pandas.DataFrame({"source": SOURCES, "target": TARGETS}, index=range(100, 140))
    estimator = translator().fit(data)
    assert estimator.predict(data) == fitted_translator.predict(SOURCES)


def test_a_frame_without_the_column_names_those_it_has() -> None:
    data = pandas.DataFrame({"texts": TEXTS, "stars": LABELS})
    with pytest.raises(DataError) as caught:
        classifier().fit(data)
    assert str(caught.value) == (
        "the training data: no column 'text'; the columns are: texts, stars. Did you mean 'texts'?"
    )


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (["a", " "], ["x", "y"], "the training data, row 2, column 'text': the text is empty"),
        (["a", None], ["x", "y"], "row 2, column 'text': the text is missing"),
        (["a", math.nan], ["x", "y"], "row 2, column 'text': the text is missing"),
        (["a", 5], ["x", "y"], "row 2, column 'text': expected text, found 5 (int)"),
        (["a", "b"], [1.0, math.nan], "row 2, column 'label': the label is NaN; expected a class"),
        (["a", "b"], ["x", None], "row 2, column 'label': the label is missing"),
        (["a", "b"], ["x"], "the training data: 2 texts but 1 labels"),
        (["a", "b"], ["x", "x"], "needs at least two different labels, found only 'x'"),
        ([], [], "needs at least two different labels, found none"),
        (["a", "a"], ["x", "y"], "2 records with 1 different inputs; at least 2 different ones"),
        ("one text", ["x"], "expected a sequence of values for 'text', found one text"),
        (["a", "b"], None, "y is missing; give it, or a data frame that holds both"),
        (pandas.DataFrame({"text": ["a"]}), None, "no column 'label'; the columns are: text"),
        (polars.Series(["a", None]), ["x", "y"], "row 2, column 'text': the text is missing"),
    ],
)
def test_bad_data_for_the_classifier(X: Any, y: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        classifier().fit(X, y)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (["a", "b"], ["x", ""], "row 2, column 'target': the text is empty"),
        (["a"], ["x"], "1 pair(s); at least 2 are needed to train"),
        (["a", "b"], ["x"], "2 sources but 1 targets"),
        (["a", "a"], ["x", "y"], "2 records with 1 different inputs"),
    ],
)
def test_bad_data_for_the_translator(X: Any, y: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        translator().fit(X, y)
    assert message in str(caught.value)


def test_validation_labels_must_be_known_and_their_row_is_told() -> None:
    with pytest.raises(DataError) as caught:
        classifier().fit(TEXTS, LABELS, validation=(["a", "b"], ["up", "upp"]))
    assert str(caught.value) == (
        "the validation data, row 2: label 'upp' was not seen in training; "
        "the labels are: down, up. Did you mean 'up'?"
    )


def test_long_texts_are_cut_and_counted_in_training_and_after() -> None:
    estimator = classifier(max_length=2, epochs=1)
    with pytest.warns(UserWarning, match=r"36 of 36 texts for training are longer than 2 units"):
        estimator.fit(TEXTS, LABELS)
    with pytest.warns(UserWarning, match=r"1 of the texts are longer than 2 units"):
        estimator.predict(["good film", "good film again"])


def test_a_long_target_is_told_of_too() -> None:
    with pytest.warns(UserWarning, match="36 of 36 targets for training are longer than 3 units"):
        translator(max_length=3, epochs=1).fit(SOURCES, TARGETS)


# In scikit-learn's hands


def test_a_clone_has_the_parameters_and_nothing_learned(fitted: Classifier) -> None:
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "model_")


def test_scikit_learn_knows_a_classifier_from_a_translator() -> None:
    assert is_classifier(Classifier())
    assert not is_classifier(Translator())


@pytest.mark.parametrize("column", [list, np.array, pandas.Series])
def test_cross_validation(column: Any) -> None:
    scores = cross_val_score(classifier(), column(TEXTS), column(LABELS), cv=2)
    assert scores.tolist() == [1.0, 1.0]
    scores = cross_val_score(translator(epochs=1), column(SOURCES), column(TARGETS), cv=2)
    assert scores.shape == (2,)


def test_grid_search() -> None:
    numbers = [i % 2 for i in range(40)]
    grid = {"hidden_size": np.array([4, 8]), "cell": ["gru", "lstm"]}
    search = GridSearchCV(classifier(), grid, cv=2, scoring="neg_log_loss")
    search.fit(np.array(TEXTS), np.array(numbers))
    assert set(search.best_params_) == {"hidden_size", "cell"}
    assert search.predict(TEXTS).tolist() == numbers
    assert search.classes_.tolist() == [0, 1]
