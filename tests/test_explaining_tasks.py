"""Every task's subject: scores are the model's own, gradients those of its torch twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import explaining
import tagging
import tiny
from unrolled.errors import ConfigError
from unrolled.explain.subject import scores
from unrolled.explain.subjects import subject_of
from unrolled.runtime.model import from_artifact
from unrolled.tasks.base import Run
from unrolled.tasks.classify import train as train_classifier
from unrolled.tasks.tag import train as train_tagger
from unrolled.tasks.translate import train as train_translator

FRAMES = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root: Path = tmp_path_factory.mktemp("models")
    training = tiny.training(epochs=1)
    made = {
        "classify": train_classifier(
            tiny.examples(), tiny.classify_options(), training, run=Run(root / "c")
        ),
        "translate": train_translator(
            tiny.pairs(), tiny.translate_options(), training, run=Run(root / "t")
        ),
        "fixed": train_translator(
            tiny.pairs(), tiny.translate_options(attention="none"), training, run=Run(root / "f")
        ),
        "tag": train_tagger(tagging.sentences(), tagging.options(), training, run=Run(root / "g")),
        "softmax": train_tagger(
            tagging.sentences(), tagging.options(head="softmax"), training, run=Run(root / "s")
        ),
    }
    return {name: from_artifact(found) for name, found in made.items()}


INPUTS = {
    "classify": ("good film 3", None),
    "translate": ("abc", None),
    "translate-1": ("abc", "1"),
    "fixed": ("abc", None),
    "tag": ("get hot soup in rio", None),
    "tag-2": ("get hot soup in rio", "2"),
    "softmax": ("get hot soup in rio", None),
    "softmax-5": ("get hot soup in rio", "5"),
}


def subject(models, case: str):
    text, target = INPUTS[case]
    return subject_of(models[case.partition("-")[0]], text, target)


@pytest.mark.parametrize("case", INPUTS)
def test_gradients_are_those_of_the_score(case: str, models) -> None:
    """The twin's score is the runtime's, and its slope that of finite differences."""
    found = subject(models, case)
    given = found.differentiable()
    score, slope = given.gradient(given.x[None])
    everything = np.ones((1, len(found.steps)), dtype=bool)
    assert score[0] == pytest.approx(scores(found, everything, "replace")[0], abs=2e-5)
    draw = np.random.default_rng(0)
    for _ in range(3):
        way = draw.normal(size=given.x.shape)
        (up, down), _ = given.gradient(np.stack([given.x + 1e-5 * way, given.x - 1e-5 * way]))
        assert (up - down) / 2e-5 == pytest.approx((slope[0] * way).sum(), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("case", INPUTS)
def test_every_method_explains_every_task(case: str, models) -> None:
    text, target = INPUTS[case]
    model = models[case.partition("-")[0]]
    found = model.explain(text, "all", target=target)
    assert found.steps == tuple(text.split() if " " in text else text)
    by_method = {each.method: each for each in found.attributions}
    assert {"occlusion", "gradient", "integrated", "timeshap"} <= set(by_method)
    assert ("attention" in by_method) == (case.startswith("translate") or case == "classify")
    gap = by_method["integrated"].details
    assert abs(gap["completeness_gap"]) <= 0.01 * abs(gap["change_from_baseline"]) + 1e-9
    assert sum(by_method["timeshap"].values) == pytest.approx(
        found.score - found.score_of_nothing, abs=1e-4
    )
    assert found.states[0].cell == "gru" or found.states[0].cell == "lstm"
    assert len(found.memory.norms) == len(found.steps)


def test_the_score_of_a_translation_is_its_log_probability(models) -> None:
    model = models["translate"]
    best = model.translate("abc").answers[0][0]
    found = model.explain("abc")
    assert found.score == pytest.approx(best.log_prob, abs=1e-4)
    assert found.alignment.written == best.target_units
    assert np.allclose(found.alignment.weights, best.alignment, atol=1e-6)
    parts = [
        model.explain("abc", "occlusion", target=k + 1).score for k in range(len(best.target_units))
    ]
    assert sum(parts) >= found.score


@pytest.mark.parametrize("name", ["tag", "softmax"])
def test_the_score_of_tags_is_their_log_probability(name: str, models) -> None:
    model, text = models[name], "get hot soup in rio"
    best = model.tag(text).answers[0][0]
    assert model.explain(text, "occlusion").score == pytest.approx(best.log_prob, abs=1e-4)
    for t, confidence in enumerate(best.confidences, start=1):
        found = model.explain(text, "occlusion", target=t)
        assert found.score == pytest.approx(np.log(confidence), abs=1e-4)
    assert found.answer == f"{best.tags[-1]} at rio"


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_frames_are_replaced_by_their_mean(cell: str) -> None:
    from unrolled.data.vocab import LabelVocabulary
    from unrolled.nn.build import build

    spec = tagging.tagger(cell, frames=3)
    weights = {k: v.detach().numpy() for k, v in build(spec).state_dict().items()}
    weights["frames.mean"] = np.array([1.0, 2.0, 3.0], np.float32)
    model = explaining.model_of("tag", spec, weights, {"target": LabelVocabulary(tuple("abcde"))})
    found = subject_of(model, FRAMES, "3")
    keep = np.array([[True, True, False, True, True, True]])
    swapped = FRAMES.copy()
    swapped[2] = weights["frames.mean"]
    path = model.labels.index(model.tag([FRAMES]).answers[0][0].tags[2])
    expected = np.log(model.predict_proba([swapped])[0][2, path])
    assert found.score(keep, "replace")[0] == pytest.approx(expected, abs=1e-5)
    given = found.differentiable()
    blank, _ = given.gradient(given.baseline[None])
    assert blank[0] == pytest.approx(found.score(~keep & False, "replace")[0], abs=1e-5)
    assert model.explain(FRAMES, "all", target=3).steps == tuple("123456")


@pytest.mark.parametrize(
    ("case", "target", "message"),
    [
        ("translate", "0", "target '0': expected a place in the answer, 1 to"),
        ("tag", "nine", "target 'nine': expected a place in the sequence, 1 to 5"),
    ],
)
def test_places_that_an_answer_does_not_have(case, target, message, models) -> None:
    with pytest.raises(ConfigError, match=message):
        models[case].explain(INPUTS[case][0], target=target)


def test_steps_that_carry_an_answer_cannot_be_removed(models) -> None:
    with pytest.raises(ConfigError, match="can only be replaced"):
        models["tag"].explain("get rice", how="remove")


def test_networks_hold_their_weights_once(models) -> None:
    for model in models.values():
        network = model.network
        stack = network.encoder if hasattr(network, "encoder") else network.recurrent
        name = "encoder" if hasattr(network, "encoder") else "recurrent"
        held = network.weights[f"{name}.weight_hh_l0"]
        assert held is stack.weights["weight_hh_l0"]


@pytest.mark.parametrize("kind", ["label", "labels", "number"])
def test_frames_of_one_answer(kind: str) -> None:
    """A label, one of several labels, or a number for a sequence of frames."""
    from unrolled.config import DataSpec
    from unrolled.data.vocab import LabelVocabulary
    from unrolled.nn.build import build
    from unrolled.spec import ClassifierSpec, RecurrentSpec, RegressorSpec

    stack = RecurrentSpec(cell="gru", input_size=3, hidden_sizes=(4,))
    shared = {"recurrent": stack, "frame_size": 3, "pooling": "mean"}
    if kind == "number":
        spec, task = RegressorSpec(num_targets=2, **shared), "regress"
    else:
        spec, task = (
            ClassifierSpec(num_classes=3, multi_label=kind == "labels", **shared),
            "classify",
        )
    weights = {k: v.detach().numpy() for k, v in build(spec).state_dict().items()}
    if kind == "number":
        weights |= {"targets.mean": np.float32([5, 7]), "targets.scale": np.float32([2, 3])}
    roles = {} if kind == "number" else {"target": LabelVocabulary(("a", "b", "c"))}
    data = DataSpec(targets=("p", "q")) if kind == "number" else DataSpec()
    model = explaining.model_of(task, spec, weights, roles, data)
    target = "q" if kind == "number" else "b"
    found = subject_of(model, FRAMES, target)
    score = scores(found, np.ones((1, 6), bool), "replace")[0]
    if kind == "number":
        assert score == pytest.approx(model.predict([FRAMES])[0, 1], abs=1e-5)
    else:
        assert score == pytest.approx(np.log(model.predict_proba([FRAMES])[0, 1]), abs=1e-5)
    given = found.differentiable()
    values, _ = given.gradient(np.stack([given.x, given.baseline]))
    blank = scores(found, np.zeros((1, 6), bool), "replace")[0]
    assert values == pytest.approx([score, blank], abs=1e-5)
    whole = model.explain(FRAMES, "all", target=target)
    assert len(whole.attributions) == 4
    assert (whole.name, whole.series) == ("6 steps", True)
