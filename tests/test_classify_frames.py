"""Sequences of numbers to labels: every container, every pooling, and every error's sentence."""

from __future__ import annotations

import json

import numpy as np
import polars
import pytest

import signals
import tiny
import unrolled
from commands import Command
from tolerances import close
from unrolled.config import DataSpec, FramesSpec
from unrolled.data.examples import read_examples
from unrolled.errors import DataError
from unrolled.tasks import Classifier
from unrolled.tasks.base import Run

INPUTS, LABELS = signals.recordings()
LONG = FramesSpec(features=("a", "b"), sequence="id", time="t")


@pytest.fixture
def files(tmp_path):
    signals.write_npz(tmp_path / "data.npz")
    table = signals.long_table(INPUTS, y=LABELS)
    table.write_csv(tmp_path / "data.csv")
    table.write_parquet(tmp_path / "data.parquet")
    return tmp_path


def test_every_format_holds_the_same_sequences(files):
    found = [
        read_examples(files / "data.npz", DataSpec(target="label", frames=FramesSpec())),
        read_examples(files / "data.csv", DataSpec(target="y", frames=LONG)),
        read_examples(files / "data.parquet", DataSpec(target="y", frames=LONG)),
    ]
    known = {x.tobytes(): label for x, label in zip(INPUTS, LABELS, strict=True)}
    for examples in found:
        pairs = zip(examples.inputs, examples.targets, strict=True)
        assert {x.tobytes(): label for x, label in pairs} == known


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
def test_a_model_of_frames_learns_and_answers_without_torch(pooling, tmp_path):
    out = tmp_path / "model"
    estimator = Classifier(**signals.LEARN, pooling=pooling)
    estimator.fit(INPUTS, LABELS, run=Run(out))
    model = unrolled.load(out)
    shares = model.predict_proba(INPUTS)
    close(shares, estimator.predict_proba(INPUTS), "forward")
    assert (np.array(model.predict(INPUTS)) == LABELS).mean() > 0.8
    one = model.predict_proba(INPUTS[3])[0]
    close(one.astype(np.float32), shares[3].astype(np.float32), "forward")


@pytest.mark.parametrize("name", ["data.npz", "data.csv", "data.parquet"])
def test_the_command_from_file_to_answers(name, files, run: Command):
    data, model = files / name, files / "model"
    long = ["--sequence", "id", "--time", "t", "--features", "a,b", "--label", "y"]
    columns = [] if name.endswith("npz") else long
    done = run("train", "classify", data, "--out", model, *columns, *signals.FLAGS, "--quiet")
    assert done.code == 0, done.err
    metrics = json.loads(run("evaluate", model, data, "--json").out)
    assert metrics["accuracy"] > 0.8
    assert metrics["count"] == len(INPUTS)
    lines = run("predict", model, data).out.splitlines()
    assert lines[0] == ("sequence" if name.endswith("npz") else "id") + ",prediction,probability"
    assert len(lines) == 1 + len(INPUTS)
    record = json.loads(run("predict", model, data, "--json").out.splitlines()[0])
    assert set(record["probabilities"]) == {"up", "down"}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("b", "a"), "held.csv: features b, a, but {data}: features a, b"),
        (("a",), "held.csv: features a, but {data}: features a, b"),
    ],
)
def test_what_is_validated_on_has_the_same_columns_in_the_same_order(
    columns, message, files, run: Command
):
    held = signals.long_table(INPUTS, y=LABELS).select("id", "t", *columns, "y")
    held.write_csv(files / "held.csv")
    data, long = files / "data.csv", ["--sequence", "id", "--time", "t", "--label", "y"]
    train = ["train", "classify", data, *long, *signals.FLAGS, "--out", files / "model"]
    said = run.error(*train, "--quiet", "--valid", files / "held.csv")
    assert said.endswith(message.format(data=data)), said


def test_an_archive_whose_columns_have_no_names_validates_a_table(files, run: Command):
    data, held = files / "data.csv", files / "data.npz"
    long = ["--sequence", "id", "--time", "t", "--label", "label", "--epochs", "1"]
    signals.long_table(INPUTS, label=LABELS).write_csv(data)
    done = run("train", "classify", data, *long, "--valid", held, "--out", files / "model")
    assert done.code == 0, done.err


def test_a_sequence_of_one_step_trains_and_answers(tmp_path, run: Command):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(60, 3))
    label = np.where(x[:, 0] > x[:, 1], "left", "right")
    data = tmp_path / "points.csv"
    polars.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "side": label}).write_csv(data)
    model = tmp_path / "model"
    columns = ["--features", "a,b,c", "--label", "side"]
    done = run("train", "classify", data, "--out", model, *columns, *signals.FLAGS, "--quiet")
    assert done.code == 0, done.err
    assert json.loads(run("evaluate", model, data, "--json").out)["accuracy"] > 0.8
    assert run("predict", model, data).out.startswith("sequence,prediction,probability\n1,")


def masked(share=0.2):
    draw = np.random.default_rng(3)
    return [np.where(draw.random(x.shape) < share, np.nan, x).astype(np.float32) for x in INPUTS]


def test_missing_numbers_are_masked_where_that_is_asked_for(tmp_path):
    inputs, out = masked(), tmp_path / "model"
    estimator = Classifier(**signals.LEARN, missing="mask").fit(inputs, LABELS, run=Run(out))
    model = unrolled.load(out)
    spec = model.network.spec
    assert (spec.frame_size, spec.recurrent.input_size) == (2, 4)
    seen = np.concatenate(inputs)
    mean = estimator.artifact_.weights["frames.mean"]
    assert np.abs(mean - np.nanmean(seen, axis=0)).max() < 0.2 * np.nanstd(seen)
    assert np.isfinite(model.predict_proba(inputs)).all()
    read = model.network.read(np.array([[[np.nan, mean[1]]]], np.float32))
    close(read, np.array([[[0, 0, 1, 0]]], np.float32), "forward")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": [1.0, None]}, "row 3, column 'a': missing"),
        ({"a": [1.0, "high"]}, "row 3, column 'a': 'high', expected a number"),
        ({"t": [0, 0]}, "row 3, column 't': 0.0 a second time in sequence 'x', first in row 2"),
        ({"y": ["up", "down"]}, "sequence 'x' has more than one 'y': down, up"),
        ({"id": ["x", None]}, "row 3, column 'id': missing"),
    ],
)
def test_what_a_long_table_has_wrong_is_told_with_its_place(change, message, tmp_path):
    columns = {"id": ["x", "x"], "t": [0, 1], "a": [1.0, 2.0], "b": [1.0, 2.0], "y": ["up", "up"]}
    given = {k: [str(v) if v is not None else "" for v in c] for k, c in (columns | change).items()}
    polars.DataFrame(given).write_csv(tmp_path / "data.csv")
    with pytest.raises(DataError, match=message):
        read_examples(tmp_path / "data.csv", DataSpec(target="y", frames=LONG))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((5, 3)), "sequence 1: expected frames [T, 2] with T at least 1, got [5, 3]"),
        ([np.zeros((0, 2))], "sequence 1: expected frames [T, 2] with T at least 1, got [0, 2]"),
        ([np.array([[0, 1], [0, np.nan]])], "sequence 1, frame 2: value 2 is missing"),
        ([np.array([[0, np.inf]])], "sequence 1, frame 1: value 2 is not finite"),
        (["text"], "sequence 1: expected frames of 2 numbers"),
    ],
)
def test_frames_that_do_not_fit_are_refused(given, message):
    model = Classifier(**{**signals.LEARN, "epochs": 1}).fit(INPUTS, LABELS).model_
    with pytest.raises(DataError) as caught:
        model.predict(given)
    assert message in str(caught.value)


def test_an_array_of_two_axes_says_what_it_might_be():
    with pytest.raises(DataError, match=r"X is \[4, 3\], expected \[N, T, I\]"):
        Classifier(**tiny.SMALL).fit(np.zeros((4, 3)), list("abab"))


def test_a_model_of_texts_refuses_an_archive(tmp_path, run: Command):
    data = tiny.write_reviews(tmp_path / "reviews.csv")
    assert run("train", "classify", data, "--out", tmp_path / "m", *tiny.FLAGS, "--quiet").code == 0
    done = run("evaluate", tmp_path / "m", signals.write_npz(tmp_path / "data.npz"))
    assert done.code == 2
    assert "the model reads texts, an npz archive holds frames of numbers" in done.err


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
def test_a_stream_of_frames_says_what_the_whole_says(pooling):
    choices = {**signals.LEARN, "epochs": 1, "bidirectional": False, "pooling": pooling}
    model = Classifier(**choices).fit(INPUTS, LABELS).model_
    longest = max(INPUTS, key=len)
    session = model.stream()
    for t, frame in enumerate(longest):
        found = session.step(frame)
        close(found, model.predict_proba(longest[: t + 1])[0], "forward")
    session.reset()
    close(session.step(longest), model.predict_proba(longest)[0], "forward")
    with pytest.raises(DataError, match="frames from 9 on"):
        session.step([1.0, 2.0, 3.0])
