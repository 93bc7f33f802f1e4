"""Sequences to numbers: learned, stored, answered, measured, and told what is wrong."""

from __future__ import annotations

import json

import numpy as np
import polars
import pytest
import scipy.stats
import sklearn.metrics
from sklearn.base import is_regressor

import signals
import tiny
import unrolled
from commands import Command
from tolerances import close
from unrolled.errors import DataError
from unrolled.tasks import Regressor
from unrolled.tasks.base import Run
from unrolled.train.metrics import regression_metrics

INPUTS, TARGETS = signals.sums(80)
LEARN = {**signals.LEARN, "epochs": 25, "pooling": "mean"}
FLAGS = [f"--{key.replace('_', '-')}={value}" for key, value in LEARN.items()]


def test_metrics_are_those_of_scikit_learn_and_scipy():
    draw = np.random.default_rng(0)
    true, said = draw.normal(size=(30, 2)), draw.normal(size=(30, 2)).round(1)
    found = regression_metrics(said, true, ["a", "b"])["per_target"]
    for k, name in enumerate(("a", "b")):
        y, p = true[:, k], said[:, k]
        assert found[name]["mae"] == pytest.approx(sklearn.metrics.mean_absolute_error(y, p))
        assert found[name]["rmse"] ** 2 == pytest.approx(sklearn.metrics.mean_squared_error(y, p))
        assert found[name]["r2"] == pytest.approx(sklearn.metrics.r2_score(y, p))
        assert found[name]["spearman"] == pytest.approx(scipy.stats.spearmanr(y, p)[0])
    constant = regression_metrics(np.zeros((3, 1)), np.ones((3, 1)), ["c"])
    assert (constant["r2"], constant["spearman"], constant["mae"]) == (0, 0, 1)


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
def test_two_targets_of_unlike_scales_are_learned_and_come_back_on_their_own(pooling, tmp_path):
    out = tmp_path / "model"
    estimator = Regressor(**{**LEARN, "pooling": pooling}, target="level,trend")
    estimator.fit(INPUTS, TARGETS, run=Run(out))
    model = unrolled.load(out)
    assert model.targets == ("level", "trend")
    said = model.predict(INPUTS)
    assert said.shape == TARGETS.shape
    close(said.astype(np.float32), estimator.predict(INPUTS).astype(np.float32), "forward")
    assert estimator.score(INPUTS, TARGETS) > (0.9 if pooling == "mean" else 0.4)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_one_target_gives_one_number_a_sequence(loss):
    estimator = Regressor(**{**LEARN, "epochs": 10}, loss=loss).fit(INPUTS, TARGETS[:, 0])
    assert estimator.predict(INPUTS).shape == (80,)
    assert estimator.score(INPUTS, TARGETS[:, 0]) > 0.5
    assert is_regressor(estimator)


def test_texts_have_numbers_too():
    texts, labels = tiny.reviews()
    stars = [5.0 if label == "up" else 1.0 for label in labels]
    choices = {**tiny.SMALL, "epochs": 12, "lr": 0.03, "dropout": 0.0, "token_dropout": 0.0}
    estimator = Regressor(**choices).fit(texts, stars)
    assert np.abs(estimator.predict(["good film 1", "bad film 2"]) - [5, 1]).max() < 1
    frame = polars.DataFrame({"text": texts, "target": stars})
    assert estimator.score(frame) > 0.8


@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_the_command_from_file_to_numbers(kind, tmp_path, run: Command):
    data, model = tmp_path / f"data.{kind}", tmp_path / "model"
    columns = ["--target", "level,trend"]
    if kind == "csv":
        signals.long_table(INPUTS, level=TARGETS[:, 0], trend=TARGETS[:, 1]).write_csv(data)
        columns += ["--sequence", "id", "--time", "t"]
    else:
        np.savez(data, **signals.padded(INPUTS), level=TARGETS[:, 0], trend=TARGETS[:, 1])
    done = run("train", "regress", data, "--out", model, *columns, *FLAGS)
    assert done.code == 0, done.err
    assert "MAE" in done.err
    found = run("evaluate", model, data)
    assert found.out.splitlines()[0].startswith("mae ")
    assert "\ntarget                   mae        rmse          r2    spearman\n" in found.out
    metrics = json.loads(run("evaluate", model, data, "--json").out)
    assert metrics["r2"] > 0.8
    lines = run("predict", model, data).out.splitlines()
    assert lines[0].endswith(",prediction_level,prediction_trend")
    assert len(lines) == 81
    record = json.loads(run("predict", model, data, "--json").out.splitlines()[0])
    assert set(record["prediction"]) == {"level", "trend"}
    shown = run("inspect", model)
    assert shown.out.startswith("regress: 2 numbers a step, level, trend\n1 GRU layer of 12")
    assert "2 numbers\n" in shown.out
    page = tmp_path / "page.html"
    assert run("explain", model, "--data", data, "--rows", "1-2,5", "--out", page).code == 0
    # Each sequence has a panel in three sections: its answer, which step mattered, its states.
    assert page.read_text().count("<article") == 9
    assert "Target by target" in page.read_text()


def test_a_matrix_of_targets_in_an_archive_names_its_columns_by_number(tmp_path, run):
    data, model = tmp_path / "data.npz", tmp_path / "model"
    np.savez(data, **signals.padded(INPUTS), y=TARGETS)
    flags = [*FLAGS, "--epochs=1", "--quiet"]
    assert run("train", "regress", data, "--target", "y", "--out", model, *flags).code == 0
    assert unrolled.load(model).targets == ("y_1", "y_2")
    assert json.loads(run("evaluate", model, data, "--json").out)["count"] == 80


@pytest.mark.parametrize("widths", [(1, 2), (2, 1)])
def test_files_have_as_many_targets_each(widths, tmp_path, run: Command):
    folder = tmp_path / "parts"
    folder.mkdir()
    for k, width in enumerate(widths):
        np.savez(folder / f"{k}.npz", **signals.padded(INPUTS), y=TARGETS[:, :width])
    flags = [*FLAGS, "--epochs=1", "--quiet", "--out", tmp_path / "model"]
    said = run.error("train", "regress", folder, "--target", "y", *flags)
    first, second = folder / "0.npz", folder / "1.npz"
    assert said == f"{second}: {widths[1]} targets, but {first}: {widths[0]}"


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1.0, np.nan], "the training data, row 2: the target is missing or not finite"),
        (["a", "b"], "expected y of numbers"),
        ([1.0], "2 sequences but 1 targets"),
        (None, "y is missing; give it, or a data frame that holds both"),
    ],
)
def test_bad_numbers_are_refused(y, message):
    with pytest.raises(DataError, match=message):
        Regressor(**tiny.SMALL).fit(INPUTS[:2], y)


def test_a_target_that_is_no_number_is_told_with_its_place(tmp_path, run: Command):
    data = tmp_path / "data.csv"
    data.write_text("text,target\na b,1\nb c,high\n")
    done = run("train", "regress", data, "--out", tmp_path / "m", *tiny.FLAGS)
    assert done.code == 2
    assert "row 3, column 'target': 'high', expected a number" in done.err


def test_a_sequence_of_one_step_is_read_and_explained(tmp_path, run: Command):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(60, 2))
    data, model = tmp_path / "points.csv", tmp_path / "model"
    table = polars.DataFrame({"a": x[:, 0], "b": x[:, 1], "sum": 3 * x.sum(axis=1)})
    table.write_csv(data)
    columns = ["--features", "a,b", "--target", "sum"]
    done = run("train", "regress", data, "--out", model, *columns, *FLAGS, "--quiet")
    assert done.code == 0, done.err
    assert json.loads(run("evaluate", model, data, "--json").out)["r2"] > 0.9
    page = tmp_path / "page.html"
    assert run("explain", model, "--data", data, "--rows", "1", "--out", page).code == 0
    assert "The one step" in page.read_text()
    assert "x[1]" in run("inspect", model).out
