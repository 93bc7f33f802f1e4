"""Any number of labels an example, weights of classes, and the matrix of what was confused."""

from __future__ import annotations

import json

import numpy as np
import polars
import pytest
import sklearn.metrics
import sklearn.utils.class_weight
import torch

import signals
import tiny
import unrolled
from commands import Command
from unrolled.errors import ConfigError, DataError
from unrolled.explain.classes import confusion_matrix
from unrolled.tasks import Classifier
from unrolled.tasks.base import Run
from unrolled.train.losses import binary_cross_entropy, cross_entropy
from unrolled.train.metrics import best_thresholds, label_metrics

COLOURS = ("red", "green", "blue")
DRAW = np.random.default_rng(0)
SETS = [tuple(c for c in COLOURS if DRAW.random() < 0.4) for _ in range(80)]
TEXTS = [" ".join([*labels, "paint", str(i)]) for i, labels in enumerate(SETS)]
LEARN = {**tiny.SMALL, "epochs": 15, "lr": 0.03, "dropout": 0.0, "multi_label": True}
FLAGS = [f"--{k.replace('_', '-')}={v}" for k, v in LEARN.items() if k != "multi_label"]


def test_metrics_are_those_of_scikit_learn():
    shares = DRAW.random((50, 3))
    true = (DRAW.random((50, 3)) < 0.4).astype(float)
    thresholds = np.array([0.5, 0.3, 0.8])
    found = label_metrics(shares, true, thresholds, COLOURS)
    said = shares >= thresholds
    for average in ("micro", "macro"):
        expected = sklearn.metrics.f1_score(true, said, average=average)
        assert found[f"{average}_f1"] == pytest.approx(expected)
    assert found["exact_accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(true, said))
    assert found["log_loss"] == pytest.approx(
        np.mean([sklearn.metrics.log_loss(true[:, k], shares[:, k]) for k in range(3)])
    )
    report = sklearn.metrics.classification_report(
        true, said, target_names=COLOURS, output_dict=True, zero_division=0
    )
    for name in COLOURS:
        assert found["per_class"][name]["precision"] == pytest.approx(report[name]["precision"])
        assert found["per_class"][name]["recall"] == pytest.approx(report[name]["recall"])


def test_no_threshold_does_better_than_the_one_that_is_found():
    shares = DRAW.random((40, 3)).round(2)
    true = (DRAW.random((40, 3)) < 0.3).astype(float)
    true[:, 2] = 0
    found = best_thresholds(shares, true)
    assert found[2] == 0.5
    for k in range(2):
        best = sklearn.metrics.f1_score(true[:, k], shares[:, k] >= found[k])
        tried = [
            sklearn.metrics.f1_score(true[:, k], shares[:, k] >= t) for t in np.arange(101) / 100
        ]
        assert best == pytest.approx(max(tried))


def test_labels_are_learned_each_by_itself_and_thresholds_kept(tmp_path):
    out = tmp_path / "model"
    estimator = Classifier(**LEARN).fit(TEXTS, SETS, run=Run(out))
    assert estimator.score(TEXTS, SETS) > 0.9
    model = unrolled.load(out)
    assert model.thresholds.shape == (3,)
    said = model.predict(TEXTS)
    assert all(isinstance(each, tuple) for each in said)
    assert [list(each) for each in said] == estimator.predict(TEXTS)
    shares = model.predict_proba(TEXTS)
    assert not np.allclose(shares.sum(axis=1), 1)
    session = Classifier(**LEARN, bidirectional=False).fit(TEXTS, SETS).model_.stream()
    session.step("red")
    assert isinstance(session.label, tuple)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "npz", "long"])
def test_the_command_with_labels_in_a_cell_a_list_or_a_matrix(kind, tmp_path, run: Command):
    data, model = tmp_path / f"data.{kind if kind != 'long' else 'csv'}", tmp_path / "model"
    columns = ["--multi-label"]
    hot = np.array([[c in each for c in COLOURS] for each in SETS])
    frames = [np.array([[*row], [*row[::-1]]], np.float32) for row in hot]
    joined = [" | ".join(each) for each in SETS]
    if kind == "csv":
        polars.DataFrame({"text": TEXTS, "label": joined}).write_csv(data)
        columns += ["--label-separator", "|"]
    elif kind == "jsonl":
        rows = [{"text": t, "label": each} for t, each in zip(TEXTS, SETS, strict=True)]
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "npz":
        np.savez(data, x=np.stack(frames), label=hot, classes=np.array(COLOURS))
    else:
        table = [
            {"id": i, "a": x[0], "b": x[1], "c": x[2], "label": joined[i]}
            for i, each in enumerate(frames)
            for x in each.tolist()
        ]
        polars.DataFrame(table).write_csv(data)
        columns += ["--label-separator", "|", "--sequence", "id"]
    done = run("train", "classify", data, "--out", model, *columns, *FLAGS)
    assert done.code == 0, done.err
    assert "micro F1" in done.err
    metrics = json.loads(run("evaluate", model, data, "--json").out)
    assert metrics["micro_f1"] > 0.9
    assert set(metrics["per_class"]) == set(COLOURS)
    assert "\nclass                     f1" in run("evaluate", model, data).out
    first = json.loads(run("predict", model, data, "--json").out.splitlines()[0])
    assert isinstance(first["prediction"], list)
    assert set(first["probabilities"]) == set(COLOURS)


def test_a_cell_that_is_missing_or_no_label_is_told_with_its_place():
    with pytest.raises(DataError, match="row 2, column 'label': the labels are missing"):
        Classifier(**LEARN).fit(["a", "b"], [["x"], None])
    with pytest.raises(DataError, match=r"row 1, column 'label': 1\.5 is not a label"):
        Classifier(**LEARN).fit(["a", "b"], [[1.5], ["x"]])
    with pytest.raises(ConfigError, match="label_smoothing spreads over classes"):
        Classifier(**LEARN, label_smoothing=0.1).fit(TEXTS, SETS)


# Weights of classes


def test_balanced_weights_are_those_of_scikit_learn():
    labels = ["up"] * 30 + ["down"] * 10
    texts = [f"{label} {i}" for i, label in enumerate(labels)]
    held = (texts[:2] + texts[-2:], labels[:2] + labels[-2:])
    estimator = Classifier(**{**tiny.SMALL, "epochs": 1}, class_weights="balanced")
    estimator.fit(texts, labels, validation=held)
    found = estimator.artifact_.config.data.labels.class_weights
    expected = sklearn.utils.class_weight.compute_class_weight(
        "balanced", classes=np.array(["down", "up"]), y=labels
    )
    assert found == pytest.approx(tuple(expected))


def test_the_weighted_losses_are_torchs():
    logits, weights = torch.randn(6, 3), torch.tensor([1.0, 2.0, 0.5])
    labels = torch.tensor([0, 1, 2, 0, 1, 1])
    loss, count = cross_entropy(logits, labels, weights=weights)
    assert loss == torch.nn.CrossEntropyLoss(weight=weights)(logits, labels)
    assert count == pytest.approx(float(weights[labels].sum()))
    hot = torch.nn.functional.one_hot(labels, 3).float()
    loss, count = binary_cross_entropy(logits, hot, weights=weights)
    expected = torch.nn.BCEWithLogitsLoss(pos_weight=weights)(logits, hot)
    assert (float(loss), count) == (pytest.approx(3 * float(expected)), 6)


def test_a_heavier_class_is_said_more_often():
    inputs, _ = signals.recordings(60)
    labels = ["rare" if i % 6 == 0 else "usual" for i in range(60)]
    held = (inputs[:12], labels[:12])
    said = []
    for weights in ("none", "rare=50"):
        choices = {**signals.LEARN, "epochs": 3, "class_weights": weights}
        shares = Classifier(**choices).fit(inputs, labels, validation=held).predict_proba(inputs)
        said.append(shares[:, 0].mean())
    assert said[1] > 2 * said[0]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("heavy", "expected none, balanced, or label=weight"),
        ("upp=2", "class_weights: no label 'upp'; the labels are: down, up. Did you mean 'up'?"),
        ("up=-1", "class_weights: up=-1: expected a number above 0"),
        ("up=many", "class_weights: up=many: expected a number above 0"),
    ],
)
def test_weights_that_cannot_be_meant_are_refused(weights, message):
    with pytest.raises(ConfigError) as caught:
        Classifier(**tiny.SMALL, class_weights=weights).fit(*tiny.reviews())
    assert message in str(caught.value)


# The confusion matrix


def test_the_matrix_is_drawn_by_share_with_its_counts():
    page = confusion_matrix([[8, 2], [0, 5]], ["cat", "dog"])
    assert ">8<" in page
    assert ">2<" in page
    assert "cat ← dog: 0.200 (2)" in page
    assert "13 of 15 examples are on the diagonal" in page
    assert "The largest confusions" in page
    assert "No example was taken for another class" in confusion_matrix(
        [[1, 0], [0, 1]], ["a", "b"]
    )


def test_of_very_many_classes_those_are_drawn_that_are_confused():
    counts = np.diag(np.full(90, 10))
    counts[70, 3] = 4
    page = confusion_matrix(counts, [f"class {k}" for k in range(90)])
    assert "Drawn are the 60 of 90 classes" in page
    assert page.count("<rect") == 60 * 60
    assert "class\u200770 ← class\u20073: 0.286 (4)" in page


def test_training_evaluating_and_explaining_show_it(tmp_path, run: Command):
    data, model = tiny.write_reviews(tmp_path / "reviews.csv"), tmp_path / "model"
    assert run("train", "classify", data, "--out", model, *tiny.FLAGS, "--quiet").code == 0
    kept = json.loads((model / "metrics.json").read_text())
    assert kept["classes"] == ["down", "up"]
    assert np.sum(kept["confusion"]) == 4
    pages = [tmp_path / "explain.html", tmp_path / "evaluate.html"]
    assert run("explain", model, "good film", "--out", pages[0]).code == 0
    assert run("evaluate", model, data, "--report", pages[1]).code == 0
    for page in pages:
        assert "Confusion matrix" in page.read_text()
        assert "Precision and recall by class" in page.read_text()
