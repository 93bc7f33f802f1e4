"""Planted signals: each method must rank first the steps that are known to decide."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

import explaining
import tiny
from unrolled import explain
from unrolled.errors import ConfigError, DataError, ModelError
from unrolled.explain.explaining import METHODS, _methods
from unrolled.explain.subject import scores
from unrolled.explain.subjects import subject_of
from unrolled.explain.timeshap import pruning_index, timeshap
from unrolled.runtime.model import from_artifact
from unrolled.tasks.classify import Examples, train

TEXT = "w0 w1 w2 good w3 w4 w5 w6 w7 w8"
ATTRIBUTIONS = ("occlusion", "gradient", "integrated", "timeshap")


def by_method(found):
    return {each.method: each for each in found.attributions}


@pytest.fixture(scope="module")
def honest():
    return by_method(explaining.planted().explain(TEXT, "all"))


@pytest.mark.parametrize("method", ["attention", *ATTRIBUTIONS])
def test_the_planted_step_comes_first_and_is_trusted(method, honest) -> None:
    found = honest[method]
    assert int(np.argmax(found.values)) == 3
    assert found.deletion.verdict == "trust", found.deletion.sentence
    assert found.deletion.area_top > found.deletion.area_random > found.deletion.area_bottom


def test_attention_that_looks_away_is_not_trusted() -> None:
    found = by_method(explaining.planted(lying=True).explain(TEXT, "all"))
    assert int(np.argmax(found["attention"].values)) != 3
    assert found["attention"].deletion.verdict == "do not trust"
    assert found["attention"].deletion.sentence.startswith("Do not trust it here: without the")
    for method in ATTRIBUTIONS:
        assert int(np.argmax(found[method].values)) == 3
        assert found[method].deletion.verdict == "trust"


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_two_planted_steps_come_first(pooling: str) -> None:
    model = explaining.planted(pooling)
    found = by_method(model.explain("w0 w1 bad w2 w3 w4 good w5", "all", target="up"))
    assert "attention" not in found
    for method in ATTRIBUTIONS if pooling == "mean" else ("integrated",):
        values = np.array(found[method].values)
        assert values.argmax() == 6, method
        assert pooling == "max" or values.argmin() == 2, method


def test_an_input_that_decides_nothing_is_not_trusted() -> None:
    found = by_method(explaining.planted().explain("w0 w1 w2 w3 w4 w5"))
    assert found["occlusion"].deletion.verdict == "do not trust"
    assert "no step that goes moves the answer" in found["occlusion"].deletion.sentence


def test_a_short_input_cannot_be_tested() -> None:
    found = by_method(explaining.planted().explain("good w0"))
    assert found["occlusion"].deletion.verdict == "too short"
    assert found["occlusion"].deletion.ks == (0, 1)
    alone = by_method(explaining.planted().explain("good"))["occlusion"]
    assert alone.deletion.verdict == "too short"


def linear_slope(model, text: str) -> tuple[np.ndarray, np.ndarray]:
    """x and d(logit a - logit b)/dx of the relu model, in closed form: its sums are positive."""
    weights = {k: v.astype(np.float64) for k, v in model.network.weights.items()}
    ids = model.vocabulary.encode(text)
    x = weights["embedding.weight"][ids]
    out = weights["output.weight"][0] - weights["output.weight"][1]
    keeps = np.diag(weights["recurrent.weight_hh_l0"])
    lags = np.arange(len(ids))[::-1]
    return x, (out * keeps ** lags[:, None]) @ weights["recurrent.weight_ih_l0"]


def test_gradients_of_a_linear_model_are_the_closed_form() -> None:
    model, text = explaining.linear(), "w0 w1 good w2 w3"
    x, slope = linear_slope(model, text)
    given = subject_of(model, text, "a").differentiable()
    score, found = given.gradient(given.x[None])
    # d log p(a) = p(b) d(logit a - logit b) with two classes
    expected = (1 - np.exp(score[0])) * slope
    assert np.abs(found[0] - expected).max() <= 1e-6 * np.abs(expected).max()
    values = by_method(model.explain(text, ["gradient"], target="a"))["gradient"].values
    assert np.allclose(values, (expected * x).sum(axis=1), rtol=1e-6)


def test_integrated_gradients_of_a_linear_model_share_out_the_change() -> None:
    model, text = explaining.linear(), "w0 w1 good w2 w3"
    x, slope = linear_slope(model, text)
    blank = model.network.read.arrays["embedding"][2:].astype(np.float64).mean(axis=0)
    part = ((x - blank) * slope).sum(axis=1)
    found = by_method(model.explain(text, ["integrated"], target="a"))["integrated"]
    # log p is a function of one linear form, so the path's slope is the same for every step
    expected = part / part.sum() * found.details["change_from_baseline"]
    assert np.allclose(found.values, expected, rtol=1e-5)
    assert abs(found.details["completeness_gap"]) < 1e-6


def test_occlusion_is_the_difference_of_two_answers() -> None:
    model = explaining.planted()
    words = TEXT.split()
    found = model.explain(TEXT, "occlusion")
    full = np.log(model.predict_proba(TEXT)[0, 1])
    for t, value in enumerate(found.attributions[0].values):
        less = " ".join(words[:t] + words[t + 1 :])
        assert value == pytest.approx(full - np.log(model.predict_proba(less)[0, 1]), abs=1e-6)
    assert found.score == pytest.approx(full)
    swapped = model.explain(TEXT, "occlusion", how="replace").attributions[0].values
    less = " ".join([*words[:3], "unheard-of", *words[4:]])
    assert swapped[3] == pytest.approx(full - np.log(model.predict_proba(less)[0, 1]), abs=1e-6)


def shapley_reference(subject, how) -> np.ndarray:
    """By the definition, over all S! orders."""
    steps = len(subject.steps)
    values, orders = np.zeros(steps), list(permutations(range(steps)))
    for order in orders:
        keep = np.zeros((steps + 1, steps), dtype=bool)
        for k, step in enumerate(order):
            keep[k + 1 :, step] = True
        values[list(order)] += np.diff(scores(subject, keep, how))
    return values / len(orders)


def test_timeshap_is_the_shapley_value() -> None:
    subject = subject_of(explaining.linear(), "good bad w0 w1 w2", "a")
    found = timeshap(subject, "replace", tolerance=0)
    assert found.details["pruning_index"] == 0
    assert found.reading.endswith("(Shapley value).")
    assert np.allclose(found.values, shapley_reference(subject, "replace"), atol=1e-6)


def test_timeshap_prunes_the_past_that_does_not_matter() -> None:
    past = " ".join(f"w{k % 10}" for k in range(300))
    model = explaining.planted("mean")
    subject = subject_of(model, f"{past} w1 good w2 w3", None)
    cut = pruning_index(subject, "replace")
    assert 290 <= cut <= 301
    found = timeshap(subject, "replace")
    assert int(np.argmax(found.values)) == 301
    said = f"The first {cut} steps together hardly matter and are not told apart."
    assert found.reading.endswith(said)
    everything, nothing = scores(subject, np.array([[True] * 304, [False] * 304]), "replace")
    assert sum(found.values) == pytest.approx(everything - nothing, abs=1e-6)


def test_timeshap_says_where_recent_steps_stand_together() -> None:
    text = " ".join(["good", *(f"w{k % 10}" for k in range(70))])
    found = timeshap(subject_of(explaining.planted("mean"), text, "up"), "replace")
    assert found.details["pruning_index"] == 0
    assert found.reading.endswith("The others stand together in 64 blocks.")


def test_sampled_shapley_values_are_near_the_exact_ones_and_repeat() -> None:
    text = "good w0 bad w1 w2 w3 good w4 w5 w6 w7 w8"
    subject = subject_of(explaining.planted("mean"), text, "up")
    found = timeshap(subject, "replace", tolerance=0)
    assert found.details["players"] == 12
    assert found.details["standard_error"] < 0.2
    assert found.values == timeshap(subject, "replace", tolerance=0).values
    # a mean is symmetric: each `good` has the same part, `bad` the opposite sign
    assert found.values[0] == pytest.approx(found.values[6], abs=0.2)
    assert found.values[2] < -0.2


def test_an_explanation_is_json_and_repeats() -> None:
    model = explaining.planted()
    first, second = (model.explain(TEXT, "all") for _ in range(2))
    assert first == second
    assert isinstance(first, explain.Explanation)
    plain = json.loads(json.dumps(first.to_dict()))
    assert plain["steps"] == TEXT.split()
    assert [each["method"] for each in plain["attributions"]] == ["attention", *ATTRIBUTIONS]
    with pytest.raises(AttributeError):
        first.score = 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": "oclusion"}, "no method 'oclusion'; one of: .*Did you mean 'occlusion'"),
        ({"target": "upp"}, "no label 'upp'. Did you mean 'up'?"),
        ({"how": "hide"}, "how 'hide': expected remove or replace"),
    ],
)
def test_what_cannot_be_asked(arguments, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        explaining.planted().explain(TEXT, **arguments)


def test_what_cannot_be_explained() -> None:
    with pytest.raises(ConfigError, match="this model has no attention over its input"):
        explaining.planted("mean").explain(TEXT, ["attention"])
    with pytest.raises(DataError, match="text 1 is empty"):
        explaining.planted().explain(" ")
    with pytest.raises(ModelError, match="a int cannot be explained"):
        explain.explain(3, "x")


def test_without_torch_gradients_name_the_extra() -> None:
    code = """
import sys
sys.modules["torch"] = None
sys.path.insert(0, sys.argv[1])
import explaining
from unrolled.errors import ConfigError
model = explaining.planted()
found = model.explain("w0 good w1 w2 w3", "attention,occlusion,timeshap,states")
print(len(found.attributions))
for method in ("gradient", "integrated", "memory"):
    try:
        model.explain("w0 good", method)
    except ConfigError as error:
        print(error)
"""
    found = tiny.python(code, str(__file__).rpartition("/")[0])
    assert found.stderr == ""
    assert found.stdout.splitlines() == [
        "3",
        "gradient x input needs the package torch: pip install 'unrolled[train]'",
        "integrated gradients needs the package torch: pip install 'unrolled[train]'",
        "the memory of a model needs the package torch: pip install 'unrolled[train]'",
    ]
    assert [name for name, torch in METHODS.items() if torch] == [
        "gradient",
        "integrated",
        "memory",
    ]


def test_very_long_inputs_have_to_be_asked_for() -> None:
    model = explaining.planted("mean")
    text = "w1 " * 390 + "good"
    assert [each.method for each in model.explain(text).attributions] == ["occlusion"]
    subject = subject_of(model, text, None)
    assert _methods(None, replace(subject, written=("x",) * 100)) == ("states",)


def test_a_trained_network_is_seen_to_read_the_planted_word() -> None:
    """A GRU read at its last state, trained on texts whose label hangs on one word anywhere."""
    draw = np.random.default_rng(0)
    fill = [f"w{k}" for k in range(8)]

    def texts(count: int) -> tuple[list[str], list[str], list[int]]:
        places, labels = draw.integers(0, 9, count), draw.integers(0, 2, count)
        rows = draw.choice(fill, size=(count, 9))
        rows[np.arange(count), places] = np.where(labels == 1, "up", "no")
        return [" ".join(row) for row in rows], [f"c{k}" for k in labels], places.tolist()

    given, labels, _ = texts(300)
    options = tiny.classify_options(pooling="last", hidden_size=12, bidirectional=False)
    trained = train(Examples(given, labels), options, tiny.training(epochs=12, lr=0.02))
    model = from_artifact(trained)
    new, wanted, places = texts(10)
    assert model.predict(new) == wanted
    found = [by_method(model.explain(text, ATTRIBUTIONS)) for text in new]
    for method in ("occlusion", "integrated", "timeshap"):
        first = [int(np.argmax(each[method].values)) for each in found]
        assert sum(a == b for a, b in zip(first, places, strict=True)) >= 9, method
        trusted = [each[method].deletion.verdict == "trust" for each in found]
        assert sum(trusted) >= 7, method
